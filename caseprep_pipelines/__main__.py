"""The program `caseprep`: first the memory that the engines need, then the command."""

from typing import NoReturn

from caseprep_pipelines.large_pages import for_this_process


def main() -> NoReturn:
    for_this_process()
    from caseprep_pipelines import cli

    cli.main()


if __name__ == "__main__":
    main()
