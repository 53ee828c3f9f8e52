"""The mutation tool's own decisions: which mutants there are, which are tried, and that exclusions stay few and reasoned."""

from __future__ import annotations

import pytest
from devkit import mutants
from devkit.host import DevError
from devkit.layout import REPO

WRITTEN = """
class Gate:
    def xǁGateǁopen__mutmut_orig(self, x):
        # a comment
        if x < 0:
            raise X2EditError("never")
        return x + 1
    def xǁGateǁopen__mutmut_1(self, x):
        if x <= 0:
            raise X2EditError("never")
        return x + 1
    def xǁGateǁopen__mutmut_2(self, x):
        if x < 0:
            raise X2EditError("XXneverXX")
        return x + 1
def x_shut__mutmut_orig():
    return 1
def x_shut__mutmut_1():
    return 2
"""


def test_a_mutant_is_known_by_its_function_and_its_changed_line():
    found = {mutant.name: mutant for mutant in mutants.mutants_of(WRITTEN, "core.gate")}
    assert set(found) == {
        "core.gate.xǁGateǁopen__mutmut_1",
        "core.gate.xǁGateǁopen__mutmut_2",
        "core.gate.x_shut__mutmut_1",
    }
    first = found["core.gate.xǁGateǁopen__mutmut_1"]
    assert (first.function, first.before, first.after) == ("Gate.open", "if x < 0:", "if x <= 0:")
    assert found["core.gate.x_shut__mutmut_1"].function == "shut"


def test_the_draw_is_the_same_every_time_and_leaves_out_what_is_excluded():
    many = [mutants.Mutant(f"m{number}", "f", str(number), "") for number in range(100)]
    rule = mutants.Exclusion("f", "^7$", "an equivalent")
    wanted, out = mutants.chosen(many, [rule], 100)
    assert out == ["m7"] and len(wanted) == 99 and "m7" not in wanted
    assert (
        mutants.chosen(many, [], 20) == mutants.chosen(many[::-1], [], 20)
        and len(mutants.chosen(many, [], 20)[0]) == 20
    )
    with pytest.raises(DevError, match="at most 10%"):
        mutants.chosen(many, [mutants.Exclusion(".*", "1", "too wide")], 100)


@pytest.mark.parametrize("module", mutants.MODULES)
def test_every_module_has_its_file_its_tests_and_reasoned_exclusions(module):
    file, tests = mutants.MODULES[module]
    assert (REPO / mutants.CORE / file).exists()
    assert tests and all((REPO / "tests" / "core" / f"test_{name}.py").exists() for name in tests)
    assert all(len(rule.reason.split()) >= 3 for rule in mutants.exclusions(module))
