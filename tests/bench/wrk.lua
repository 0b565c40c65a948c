-- Arguments after `--`: a file with one path a line, and a seed. Paths are drawn at random; what was
-- counted is written as one line of JSON.

local requests = {}

function init(arguments)
   for path in io.lines(arguments[1]) do
      requests[#requests + 1] = wrk.format("GET", path)
   end
   math.randomseed(tonumber(arguments[2]))
end

function request()
   return requests[math.random(#requests)]
end

function done(summary, latency)
   local errors = summary.errors
   local lost = errors.connect + errors.read + errors.write + errors.timeout
   io.write(string.format(
      '{"answers": %d, "octets": %d, "wall_us": %d, "wrong": %d, "lost": %d}\n',
      summary.requests, summary.bytes, summary.duration, errors.status, lost))
end
