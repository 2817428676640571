"""Scaffolded, yours to change: functions become steps, in their order, and docstrings their titles."""
from wit_world import exports
from wit_world.exports import life_cycle
from wit_world.imports import context
from wit_world.imports.types import Error, Kind, Phase
from componentize_py_types import Err

_steps = {phase: {} for phase in Phase}
_risks = []


def _phase(phase):
    def options(estimate, roles=(), after=None, attempts=1):
        """A step follows the one before it, unless `after` names others; with `after=[]` it waits for none.
        `estimate` is in seconds, or a function that says them. `roles` are people who must be at hand."""
        def register(function):
            name = function.__name__.replace("_", "-")
            step = lambda: life_cycle.Step(
                name, function.__doc__, estimate() if callable(estimate) else estimate, list(roles), after, attempts)
            _steps[phase][name] = step, function
            return function
        return register
    return options


prepare, upgrade, rollback, verify = map(_phase, (Phase.PREPARE, Phase.UPGRADE, Phase.ROLLBACK, Phase.VERIFY))


def assess(function):
    _risks.append(function)
    return function


def risk(severity, subject, detail):
    return life_cycle.Risk(life_cycle.Severity[severity.upper()], subject, detail)


def setting(name):
    """A setting of the manifest as a number; durations come in seconds. Not at import time: that is when it is built."""
    return int(context.setting(name))


def fail(message):
    raise Err(Error(Kind.FAILED, message))


class LifeCycle(exports.LifeCycle):
    def assess(self):
        return [risk for function in _risks for risk in function()]

    def plan(self, phase):
        return [step() for step, _ in _steps[phase].values()]

    def run(self, phase, step):
        if step not in _steps[phase]:
            fail(f"no step `{step}`")
        _steps[phase][step][1]()
