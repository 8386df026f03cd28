"""`kubectl exec`, `attach`, `run -i` and `cp`: streams in and out of containers, on pipes and terminals."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.cluster.kubectl.console import Console

PROMPT = r"\$ $"


def test_output_and_errors_come_apart_with_the_exit_code(standing_shell: Console) -> None:
    outcome = standing_shell.outcome("exec shell -c main -- sh -c 'echo out; echo err >&2; exit 7'")

    assert outcome.returncode == 7
    assert outcome.stdout == "out\n"
    assert "err\n" in outcome.stderr
    assert "command terminated with exit code 7" in outcome.stderr


def test_input_goes_in_until_it_ends(standing_shell: Console) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))

    assert standing_shell.run("exec -i shell -c main -- cat", stdin=text) == text
    assert standing_shell.run("exec -i shell -c side -- wc -c", stdin=text).strip() == str(len(text))


def test_the_container_is_the_chosen_one(standing_shell: Console) -> None:
    standing_shell.run("exec shell -c side -- touch /only-here")

    assert standing_shell.run("exec shell -c side -- ls /only-here") == "/only-here\n"
    assert standing_shell.outcome("exec shell -c main -- ls /only-here").returncode == 1
    assert standing_shell.outcome("exec shell -- ls /only-here").returncode == 1
    assert "container other is not valid for pod shell" in standing_shell.refusal(
        "exec shell -c other -- true"
    )


def test_a_command_that_is_not_there_is_named(standing_shell: Console) -> None:
    said = standing_shell.refusal("exec shell -c main -- /no/such/program")

    assert "/no/such/program" in said
    assert "no such file or directory" in said


def test_a_shell_on_a_terminal(standing_shell: Console) -> None:
    """The prompt, an echo of what is typed, the window's size and its changes, interrupts, the exit code."""
    line = "exec -it shell -c main -- env PS1='$ ' bash --noprofile --norc --noediting"
    with standing_shell.start_on_terminal(line, rows=40, columns=100) as terminal:
        terminal.read_until(PROMPT)
        terminal.write("stty size; tty\n")
        terminal.read_until(r"stty size; tty\r\n40 100\r\n/dev/pts/\d+\r\n")
        terminal.read_until(PROMPT)

        terminal.resize(50, 120)
        terminal.write("until [ \"$(stty size)\" = '50 120' ]; do sleep 0.05; done; echo re''sized\n")
        terminal.read_until(r"resized\r\n")
        terminal.read_until(PROMPT)

        terminal.write("sleep 3600\n")
        terminal.read_until(r"sleep 3600\r\n")
        terminal.write("\x03")
        terminal.read_until(PROMPT)

        terminal.write("exit 9\n")
        assert terminal.wait() == 9
        assert "command terminated with exit code 9" in terminal.output


def test_attach_joins_the_container_s_own_process(console: Console) -> None:
    overrides = (
        '{"spec": {"containers": [{"name": "main", "stdin": true, "stdinOnce": true,'
        ' "image": "berth.local/shell:1", "command": ["sh", "-c",'
        ' "while read -r word; do echo heard $word; done; echo bye"]}]}}'
    )
    console.run(f"run listener --image=berth.local/shell:1 --restart=Never --overrides='{overrides}'")
    console.wait_for("wait pod/listener --for=condition=Ready --timeout=30s")

    with console.start("attach -i listener") as attached:
        attached.write("one\n")
        attached.read_until("heard one\n")
        attached.write("two\n")
        attached.read_until("heard two\n")
        attached.end_input()
        attached.read_until("bye\n")
        assert attached.wait() == 0

    assert console.run("logs listener") == "heard one\nheard two\nbye\n"


def test_run_with_input_ends_with_the_command_s_exit_code_and_removes_the_pod(console: Console) -> None:
    script = "sh -c 'read word; echo got $word; exit 4'"
    line = f"run once -i --rm --restart=Never --image=berth.local/shell:1 -- {script}"

    outcome = console.outcome(line, stdin="this\n")

    assert "got this\n" in outcome.stdout
    assert outcome.returncode == 4
    assert console.run("get pods -o name") == ""


def test_files_and_directories_go_in_and_come_back(standing_shell: Console, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "big").write_bytes(content)
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "leaf").write_text("green")
    (tmp_path / "tree" / "root").write_text("brown")

    standing_shell.run(f"cp {tmp_path}/big shell:/tmp/big -c main")
    standing_shell.run(f"cp {tmp_path}/tree shell:/tmp/tree -c main")

    digest = standing_shell.run("exec shell -c main -- sha256sum /tmp/big").split()[0]
    assert digest == hashlib.sha256(content).hexdigest()
    standing_shell.run(f"cp shell:/tmp/big {tmp_path}/back -c main")
    standing_shell.run(f"cp shell:/tmp/tree {tmp_path}/forest -c main")
    assert (tmp_path / "back").read_bytes() == content
    assert (tmp_path / "forest" / "deep" / "leaf").read_text() == "green"
    assert (tmp_path / "forest" / "root").read_text() == "brown"
