"""The documentation shows what its commands print, and no output that nobody checks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

import documented
from forked_commands import served
from page_rules import repeated, undeclared

MEND = "python tests/documented.py --write"
PAGES = {page.name: page for page in documented.pages()}


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """``snn-compile`` and ``python`` that begin at once."""
    environment = documented.environment(documented.provisions(slow=False))
    with served(tmp_path_factory.mktemp("served"), environment) as folder:
        yield folder


def check(page, request, folder, *, slow=False, programs=None):
    """Run a page and compare. What needs something that is not here is left out."""
    request.getfixturevalue("compiled_engine")
    needs = set().union(*(step.needs for step in page.steps if slow or "slow" not in step.needs))
    missing = []
    for need, fixture in (("lava", "lava_environment"), ("shared_data", "shared_data")):
        if need in needs:
            try:
                request.getfixturevalue(fixture)
            except pytest.skip.Exception as reason:
                missing.append(str(reason))
    if "torch" in needs and find_spec("torch") is None:
        missing.append("torch is not installed (extra: tune)")
    for step, printed in documented.run(page, folder, documented.provisions(slow=slow), programs):
        shown = [page.lines[k] for k in step.shown or ()]
        if not documented.agrees(page, step, printed):
            where = f"{page.name}:{step.line + 1}: {step.command}"
            lines = [where, "-- the page:", *shown, "-- the command:", *printed]
            pytest.fail("\n".join([*lines, "-- to mend it: " + MEND]), pytrace=False)
    if missing:
        pytest.skip(f"the rest of {page.name} agrees; {'; '.join(missing)}")


def with_steps(*, slow):
    return [
        name
        for name, page in PAGES.items()
        if any(("slow" in step.needs) is slow for step in page.steps)
    ]


@pytest.mark.parametrize("name", with_steps(slow=False))
def test_a_page_shows_what_its_commands_print(name, request, tmp_path, programs):
    """The README's commands are processes of their own, as a reader's are."""
    check(PAGES[name], request, tmp_path, programs=None if name == "README.md" else programs)


@pytest.mark.slow
@pytest.mark.parametrize("name", with_steps(slow=True))
def test_a_page_shows_what_takes_minutes(name, request, tmp_path):
    check(PAGES[name], request, tmp_path, slow=True)


@pytest.mark.parametrize("name", PAGES)
def test_every_output_is_checked(name):
    assert not undeclared(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_no_sentence_repeats_an_output(name):
    assert not repeated(PAGES[name])
