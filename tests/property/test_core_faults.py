"""Fleets under random faults: whatever happened, once it is over all views agree with the truth.

A failure names its seed; `CORE_SEEDS=first:last` runs others than the default ones.
"""

import os
import random
from collections.abc import Callable

import pytest

from beacond.core.events import Event, Kind
from beacond.core.view import InstanceView
from tests.support.fleet import Fleet, Host

HOSTS = 7
STEPS = 25
INTERVAL_S, TTL_S = 5.0, 15.0
SERVICES = ("web", "db", "queue")

first, _, last = os.environ.get("CORE_SEEDS", "1:40").partition(":")
SEEDS = range(int(first), int(last or first) + 1)


class Trial:
    """One fleet, its faults drawn from one seed, and what is really so."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.fleet = Fleet(seed)
        self.names = [f"n{number}" for number in range(HOSTS)]
        self.offers: dict[str, set[str]] = {name: set() for name in self.names}
        """What is registered on each host's disk."""
        self.up: set[str] = set(self.names)
        self.paused: set[str] = set()
        self.left: list[tuple[str, int]] = []
        self.promised: dict[str, dict[str, set[str]]] = {}
        """During an outage: host → service → nodes that must stay in its answers."""
        self.fleet.start(*self.names)
        for name in self.names:
            self.register(name, "web")

    def register(self, name: str, service: str) -> None:
        self.fleet.register(name, service)
        self.offers[name].add(service)

    # ---- faults

    def step(self) -> None:
        faults: list[Callable[[], None]] = [
            self.offer, self.offer, self.crash, self.boot, self.boot, self.pause, self.resume,
            self.leave, self.cut, self.heal, self.outage, self.alarm, self.recover, self.recover,
            self.storm, self.calm,
        ]  # fmt: skip
        self.rng.choice(faults)()
        self.fleet.run(self.rng.choice([0.05, 0.5, 2.0, 6.0, 20.0]))
        self.check_promises()

    def running(self) -> list[str]:
        return sorted(self.up - self.paused)

    def offer(self) -> None:
        if self.running():
            self.register(self.rng.choice(self.running()), self.rng.choice(SERVICES))

    def crash(self) -> None:
        if len(self.up) > 2:
            name = self.rng.choice(sorted(self.up))
            self.fleet.kill(name)
            self.gone(name)

    def leave(self) -> None:
        if len(self.running()) > 2:
            name = self.rng.choice(self.running())
            host = self.fleet.hosts[name]
            self.left.append((name, host.core.incarnation))
            self.fleet.leave(name, hold_s=self.rng.choice([0.0, 0.0, 10.0]))
            self.fleet.run(0.2)
            self.gone(name)

    def gone(self, name: str) -> None:
        self.up.discard(name)
        self.paused.discard(name)
        self.promised.pop(name, None)
        self.offers[name] = set()

    def boot(self) -> None:
        down = [name for name in self.names if name not in self.up]
        if down:
            name = self.rng.choice(down)
            self.fleet.hosts[name].events.clear()
            self.fleet.start(name, keep_disk=False)
            self.up.add(name)
            self.register(name, "web")

    def pause(self) -> None:
        if len(self.running()) > 2:
            name = self.rng.choice(self.running())
            self.fleet.pause(name)
            self.paused.add(name)

    def resume(self) -> None:
        if self.paused:
            name = self.rng.choice(sorted(self.paused))
            self.paused.discard(name)
            self.fleet.resume(name)

    def cut(self) -> None:
        size = self.rng.randint(1, HOSTS - 1)
        group = set(self.rng.sample(self.names, size))
        self.fleet.weather.cut = lambda sender, receiver: (sender in group) != (receiver in group)

    def heal(self) -> None:
        self.fleet.weather.cut = lambda sender, receiver: False

    def outage(self) -> None:
        self.fleet.bus_down()
        self.promise()

    def alarm(self) -> None:
        if not self.fleet.weather.down:
            self.fleet.bus_blocked()

    def recover(self) -> None:
        self.promised = {}
        self.fleet.bus_up()

    def storm(self) -> None:
        weather = self.fleet.weather
        weather.loss, weather.duplication = self.rng.choice([0.05, 0.2]), self.rng.choice([0, 0.2])
        weather.delay_s = self.rng.choice([(0.001, 0.01), (0.01, 1.0), (0.5, 4.0)])

    def calm(self) -> None:
        weather = self.fleet.weather
        weather.loss, weather.duplication, weather.delay_s = 0.0, 0.0, (0.001, 0.01)

    # ---- what must hold

    def promise(self) -> None:
        """The bus went: nothing that an answer has now may be missing until it is back."""
        for name in self.up:
            self.promised.setdefault(name, {s: set(self.fleet.answer(name, s)) for s in SERVICES})

    def check_promises(self) -> None:
        for name, services in self.promised.items():
            for service, nodes in services.items():
                said_goodbye = {node for node, _ in self.left}
                missing = nodes - set(self.fleet.answer(name, service)) - {name} - said_goodbye
                assert not missing, f"{name} lost {missing} of {service} while the bus was away"

    def end_all_faults(self) -> None:
        self.recover()
        self.heal()
        self.calm()
        while self.paused:
            self.resume()

    def check_agreement(self) -> None:
        truth = {
            service: [name for name in sorted(self.up) if service in self.offers[name]]
            for service in SERVICES
        }
        for name in sorted(self.up):
            seen = {service: self.fleet.answer(name, service) for service in SERVICES}
            assert seen == truth, f"{name} believes otherwise"
            assert self.fleet.hosts[name].core.view.sight.stale_since is None

    def check_events(self) -> None:
        for name in sorted(self.up):
            host = self.fleet.hosts[name]
            instances, started = replay(host)
            view = host.core.view
            shown = {(i.node, i.id): i for s in view.services.values() for i in s.instances}
            assert instances == {key: told(i) for key, i in shown.items()}, name
            assert started == {key for key, i in shown.items() if i.passing}, name

    def check_nothing_came_back(self) -> None:
        for name in sorted(self.up):
            gone: set[tuple[str, int]] = set()
            for event in self.fleet.hosts[name].events:
                if event.agent is None:
                    continue
                about = (event.agent.node, event.agent.incarnation)
                if event.kind is Kind.AGENT_LEFT:
                    gone.add(about)
                elif event.kind in (Kind.AGENT_JOINED, Kind.AGENT_RECOVERED):
                    assert about not in gone, f"{about} came back at {name} after its goodbye"


def told(instance: InstanceView) -> object:
    """What events tell of an instance."""
    return (instance.service, instance.addresses, instance.port, instance.status, instance.mode)


def replay(host: Host) -> tuple[dict[tuple[str, str], object], set[tuple[str, str]]]:
    instances: dict[tuple[str, str], object] = {}
    started: set[tuple[str, str]] = set()
    for event in host.events:
        if event.instance is not None:
            _replay_one(event, event.instance, instances, started)
    return instances, started


def _replay_one(
    event: Event,
    instance: InstanceView,
    instances: dict[tuple[str, str], object],
    started: set[tuple[str, str]],
) -> None:
    key = (instance.node, instance.id)
    match event.kind:
        case Kind.INSTANCE_REGISTERED:
            assert key not in instances
            instances[key] = told(instance)
        case Kind.INSTANCE_DEREGISTERED:
            del instances[key]
        case Kind.INSTANCE_CHANGED | Kind.INSTANCE_HEALTH | Kind.INSTANCE_MODE:
            instances[key] = told(instance)
        case Kind.INSTANCE_STARTED:
            assert key not in started
            started.add(key)
        case Kind.INSTANCE_STOPPED:
            started.remove(key)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_faults_all_views_agree_with_the_truth(seed: int) -> None:
    trial = Trial(seed)
    trial.fleet.run(20)
    for _ in range(STEPS):
        trial.step()
    trial.end_all_faults()
    trial.fleet.run(TTL_S + 3 * INTERVAL_S)
    trial.check_agreement()
    trial.check_events()
    trial.check_nothing_came_back()
    sent = sum(host.sent for host in trial.fleet.hosts.values())
    intervals = trial.fleet.now / INTERVAL_S
    assert sent < 4 * HOSTS * intervals, "more is said than the protocol needs"


@pytest.mark.parametrize("seed", [1, 2])
def test_same_seed_gives_the_same_history(seed: int) -> None:
    histories = []
    for _ in range(2):
        trial = Trial(seed)
        for _ in range(8):
            trial.step()
        histories.append(trial.fleet.history)
    assert len(histories[0]) > 20
    assert histories[0] == histories[1]
