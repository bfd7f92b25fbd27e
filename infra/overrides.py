"""Reads the documents' commands by SAM's own parser: what they give `sam deploy` and `infra/gradual` as parameters.
Each parameter is the template's, and SAM takes its value as it stands there. infra/check runs it.
"""

import re
import shlex
import sys

from cfnlint.decode.cfn_yaml import load
from samcli.cli.types import CfnParameterOverridesType

from parameters import HERE

OPTION = "--parameter-overrides"
BY_SAM = ("sam deploy", "infra/gradual")


def read(arguments):
    """What SAM makes of the arguments, or None if it refuses them."""
    try:
        return CfnParameterOverridesType().convert(tuple(arguments), None, None)
    except Exception:  # pylint: disable=broad-exception-caught
        return None


def commands(page):
    """The commands in a page's blocks and between backticks."""
    parts = page.split("```")
    for block in parts[1::2]:
        joined = re.sub(r"\\\n\s*", "", block)
        yield from (line.strip().removeprefix("$ ") for line in joined.splitlines())
    for text in parts[::2]:
        yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text))


def overrides(command):
    """The arguments of the option, as a shell gives them. An ellipsis stands for what the reader adds."""
    words = shlex.split(command, comments=True)
    for word in words[words.index(OPTION) + 1 :]:
        if word.startswith("--"):
            return
        if word != "…":
            yield word


def main():
    parameters = load(str(HERE / "template.yaml"))["Parameters"]
    empty = 'SubnetIds=""'
    assert read([empty, "KdsUrl=http://k"]) == {"SubnetIds": "", "KdsUrl": "http://k"}
    assert read(["SubnetIds=", "KdsUrl=http://k"]) is None, "SAM takes an empty value as it is: say so in the manual"
    count, empties, failed = 0, 0, False
    for path in sorted((HERE.parent / "docs").rglob("*.md")):
        for command in commands(path.read_text(encoding="utf-8")):
            # A command that begins with the option is one of SAM's, too.
            if OPTION not in command or not command.startswith((*BY_SAM, OPTION)):
                continue
            given = list(overrides(command))
            wanted = dict(one.split("=", 1) for one in given)
            wanted = {name: "" if value == '""' else value for name, value in wanted.items()}
            if read(given) != wanted or not wanted.keys() <= parameters.keys():
                failed = True
                print(f"FAIL  {path.name}: {command}: SAM reads {read(given)}")
            count += 1
            empties += "" in wanted.values()
    assert count >= 8 and empties, (count, empties)
    if failed:
        sys.exit(1)
    print(f"infra: SAM reads the parameters of {count} documented commands as they are meant")


if __name__ == "__main__":
    main()
