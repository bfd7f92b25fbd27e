#!/usr/bin/env python3
"""The account and the region of the scripts here, by the options that `keybroker` has, too: --region and --profile.

Each counts for more than what the environment says. A script of Python calls add() and take(). One of bash passes
each option to this file, and evaluates the lines that it prints: they set and unset variables of AWS's tools.
"""

import argparse
import os
import re
import shlex
import sys

REGION = re.compile(r"[a-z]+(-[a-z]+)+-[0-9]+")
# Keys in the environment count for more than the profile that AWS_PROFILE names.
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")


def region(text):
    if not REGION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no region of AWS, such as eu-central-1")
    return text


def profile(text):
    # Such a text is an option whose value was forgotten.
    if not text or text.startswith("-"):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a profile in AWS's configuration")
    return text


def add(parser):
    """Lets a parser take both options."""
    usual = "if it is not the one that AWS's tools would take"
    parser.add_argument("--region", type=region, help=f"of the deployment, {usual}")
    parser.add_argument("--profile", type=profile, metavar="NAME", help=f"of AWS's configuration, {usual}")


def variables(given):
    """Each variable that the options set, and those that they take away, with None."""
    found = {}
    if given.region:
        found |= {"AWS_REGION": given.region, "AWS_DEFAULT_REGION": given.region}
    if given.profile:
        found |= {"AWS_PROFILE": given.profile, **dict.fromkeys(KEYS)}
    return found


def take(given):
    """Lets the AWS SDK in this process take what the options say."""
    for name, value in variables(given).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def options(given):
    """The options again, for a command line."""
    named = {"--region": given.region, "--profile": given.profile}
    return "".join(f" {name} {shlex.quote(value)}" for name, value in named.items() if value)


def main():
    script, *arguments = sys.argv[1:]
    parser = argparse.ArgumentParser(prog=script, usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    add(parser)
    for name, value in variables(parser.parse_args(arguments)).items():
        print(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
