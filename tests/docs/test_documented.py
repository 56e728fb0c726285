"""How pages are read, run and written: ``documented.py``."""

from __future__ import annotations

from textwrap import dedent

import pytest

import documented
from documented import PageError, agrees, masked, read, rewritten
from page_rules import repeated, undeclared


@pytest.fixture
def page_of(tmp_path):
    def make(text):
        path = tmp_path / "page.md"
        path.write_text(dedent(text))
        return read(path)

    return make


@pytest.fixture
def run(tmp_path):
    def steps(page, **provided):
        (tmp_path / "session").mkdir(exist_ok=True)
        return list(documented.run(page, tmp_path / "session", provided))

    return steps


SESSION = """\
    # A page

    <!-- prepare: mkdir inner; echo unseen -->

    ```console
    $ cd inner
    $ cat > file <<'END'
    $ not a command
    END
    $ echo one; echo two >&2; \\
        wc -l <file
    stale

    $ pwd | sed 's,.*/,,'
    inner
    $ sh -c 'exit 3'
    $ echo $?
    3
    ```

    <!-- file: square.py -->
    ```python
    def square(x): return x * x
    ```

    ```python
    from square import square
    print(square(12))
    ```

    prints

    ```output
    stale
    ```

    <!-- print:
    echo '| a |'
    echo '|---|'
    -->
    <!-- end -->
    """


def test_a_page_is_a_session_and_is_written(page_of, run):
    page = page_of(SESSION)
    printed = run(page)
    assert [output for step, output in printed if step.shown is not None] == [
        [],
        [],
        ["one", "two", "1"],
        ["inner"],
        [],
        ["3"],
        ["144"],
        ["| a |", "|---|"],
    ]
    assert sum(not agrees(page, step, output) for step, output in printed) == 3

    expected = dedent(SESSION).replace("stale\n\n", "one\ntwo\n1\n\n")
    expected = expected.replace("stale", "144")
    expected = expected.replace("-->\n<!-- end", "-->\n| a |\n|---|\n<!-- end")
    assert rewritten(page, printed) == expected


def test_a_page_that_is_written_agrees(page_of, run, tmp_path):
    page = page_of(SESSION)
    text = rewritten(page, run(page))
    again, folder = page_of(text), tmp_path / "again"
    folder.mkdir()
    printed = list(documented.run(again, folder, {}))
    assert all(agrees(again, step, output) for step, output in printed)
    assert rewritten(again, printed) == text


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("  evaluate  500 samples  0:00:00", "  evaluate  500 samples  0:01:07"),
        ("103 rows in 0.4 s; traces", "103 rows in 12.0 s; traces"),
        ("device  engine: build avx512", "device  engine: build baseline"),
        ("  engine: avx512, avx2, baseline: all", "  engine: baseline: all"),
        (" engine   100   103    617,400   equal", " engine   100   103    205,800   equal"),
        (
            "lava: native 3.10 (python 3.10.13, numpy 1.26.4, lava-nc 0.10.0), synapses",
            "lava: compat 3.12 (python 3.12.1, numpy 1.26.0, lava-nc 0.10.0), synapses",
        ),
    ],
)
def test_what_depends_on_the_machine_stays_as_it_is(here, there, page_of, run):
    page = page_of(f"```console\n$ printf '{there}\\nnew\\n'\n{here}\nold\n```\n")
    ((step, output),) = run(page)
    assert not agrees(page, step, output)
    assert rewritten(page, [(step, output)]).splitlines()[2:4] == [here, "new"]


@pytest.mark.parametrize(
    "line",
    [
        " golden   100   103    205,800   equal, bit for bit",
        "  accuracy      fixed     98.40   ±0.00   fixed point, 8-bit weights   <- the answer",
        "  per inference 1,053 spikes · 69,079 synaptic operations · 1.75 (0.174 to 2.81) µJ",
        " relu2     819,200    5,963",
    ],
)
def test_what_is_computed_is_compared(line):
    assert masked(line) == line


@pytest.mark.parametrize("said", ["", "$ echo $?\n0\n", "$ echo $?\n4\n"])
def test_a_command_fails_as_the_page_says_it_does(said, page_of, run):
    with pytest.raises(PageError, match=r"page\.md:2: exit code 3, not \d"):
        run(page_of(f"```console\n$ sh -c 'exit 3' | cat\n{said}```\n"))


def test_a_script_that_fails_is_an_error(page_of, run):
    with pytest.raises(PageError, match=r"page\.md:1: exit code 1"):
        run(page_of("```python\n1 / 0\n```\n"))


def test_a_session_that_ends_early_is_an_error(page_of, run):
    with pytest.raises(PageError, match="the session ended here"):
        run(page_of("```console\n$ exit\n$ echo on\non\n```\n"))


def test_what_needs_more_than_there_is_is_left_out(page_of, run):
    text = "<!-- needs: lava, slow -->\n```console\n$ echo $WHERE\n```\n\n```console\n$ true\n```\n"
    assert [step.command for step, _ in run(page_of(text))] == ["true"]


def test_needs_come_with_their_variables(page_of, run):
    text = "<!-- needs: lava -->\n```console\n$ echo $WHERE\n```\n"
    ((_, output),) = run(page_of(text), lava={"WHERE": "there"})
    assert output == ["there"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```console\nno command\n```\n", "begins with a command"),
        ("```output\n1\n```\n", "what printed this"),
        ("```console\n$ true\n", "nothing ends this"),
        ("<!-- print: echo 1 -->\n1\n", "nothing ends this"),
        (
            "<!-- needs: luck -->\n```console\n$ true\n```\n",
            "needs: lava, shared_data, torch, slow",
        ),
    ],
)
def test_a_page_that_cannot_be_read(text, why, page_of):
    with pytest.raises(PageError, match=why):
        page_of(text)


TABLE = "| a | b |\n|---|---|\n| x | 98.40 |\n"


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("```\nsomething\n```\n", 1),
        ("```text\n$ snn-compile verify\n```\n", 1),
        ("```sh\nx: error[not-equal]: it differs\n```\n", 1),
        ("<!-- not checked: -->\n```\nsomething\n```\n", 1),
        ("<!-- not checked: of a chip -->\n```\nsomething\n```\n", 0),
        ("```text\ny = V * unit / T\n```\n", 0),
        ("```text\n  accuracy  98.40\n```\n", 1),
        ("```sh\nsnn-compile a.onnx \\\n    -T 16\n```\n", 0),
        ("```sh\nsnn-compile a.onnx\n  samples 500\n```\n", 1),
        ("* item\n  ```console\n  $ true\n  ```\n", 2),
        (TABLE, 1),
        ("<!-- not checked: hours -->\n<!-- table: t -->\n" + TABLE, 0),
        ("<!-- not checked: hours -->\n\n" + TABLE, 1),
        ("<!-- print: cat table -->\n" + TABLE + "<!-- end -->\n", 0),
        ("| a | b |\n|---|---|\n| x | words |\n", 0),
    ],
)
def test_outputs_that_nobody_checks_are_found(text, n, page_of):
    assert len(undeclared(page_of(text))) == n


@pytest.mark.parametrize(
    ("sentence", "n"),
    [
        ("It gets 98.40 % right.", 1),
        ("Of 5,969 messages", 1),
        ("It gets most of them right, 98.4 % elsewhere.", 0),
        ("Version 1.98.40 of it", 0),
    ],
)
def test_sentences_that_repeat_an_output_are_found(sentence, n, page_of):
    page = page_of(f"```console\n$ accuracy\n98.40 % 5,969\n```\n\n{sentence}\n")
    assert len(repeated(page)) == n
