"""`samreg completion`: a script for the shell, made of the dataclasses of all commands."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from samreg.cli.arguments import Argument, arguments_of, common_of

__all__ = ["Completion", "script"]

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Completion:
    """Print the script that lets a shell complete commands, options and their values.

    Write it where the shell looks for such scripts (see the examples), or run it at the start of a session.
    """

    shell: Annotated[Shell, tyro.conf.Positional, tyro.conf.arg(metavar="SHELL")]
    """bash, zsh or fish."""

    def run(self) -> None:
        """Print it, whatever else is quiet: it is the result."""
        sys.stdout.write(script(self.shell))


def script(shell: Shell) -> str:
    """The script for one shell."""
    commands = _commands()
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)


def _commands() -> dict[str, tuple[str, list[Argument]]]:
    """Command -> its summary and its arguments, the switches of all commands included."""
    from samreg import plugins
    from samreg.cli import BUILT_IN, command_names
    from samreg.cli.overview import summary_of

    found = {}
    for name in command_names():
        kind = plugins.find("commands", name, BUILT_IN)
        if isinstance(kind, type):
            summary = summary_of(plugins.location("commands", name, BUILT_IN))
            own = arguments_of(kind)
            found[name] = (summary, [_with_names(argument) for argument in (*own, *common_of(own))])
    return found


def _with_names(argument: Argument) -> Argument:
    """A setting that takes names, those of other packages among them, with the names that are known now."""
    from samreg import config

    known = {"transform": config.known_transforms, "similarity": config.known_similarities}
    return dataclasses.replace(argument, choices=tuple(known[argument.name]())) if argument.name in known else argument


def _flags(argument: Argument) -> list[str]:
    """All spellings, with the opposite of a switch that is on."""
    if argument.switch and argument.default is True:
        return [*argument.flags, "--no-" + argument.flags[-1].removeprefix("--")]
    return list(argument.flags)


def _bash(commands: dict[str, tuple[str, list[Argument]]]) -> str:
    options, values = [], []
    for name, (_, arguments) in commands.items():
        flags = " ".join(flag for argument in arguments for flag in _flags(argument))
        places = " ".join(choice for argument in arguments if not argument.flags for choice in argument.choices)
        options.append(f'    {name}) options="{flags}"; places="{places}" ;;')
        values += [
            f'    {"|".join(f"{name}:{flag}" for flag in argument.flags)}) values="{" ".join(argument.choices)}" ;;'
            for argument in arguments
            if argument.flags and argument.choices
        ]
    return "\n".join(
        [
            "# bash completion for samreg; made by: samreg completion bash",
            "_samreg() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"',
            '  local command="${COMP_WORDS[1]}" options="" places="" values=""',
            "  COMPREPLY=()",
            "  if (( COMP_CWORD == 1 )); then",
            f'    COMPREPLY=($(compgen -W "{" ".join(commands)} --help --version" -- "$current"))',
            "    return",
            "  fi",
            '  case "$command" in',
            *options,
            "  esac",
            '  case "$command:$previous" in',
            *values,
            "  esac",
            '  if [[ -n "$values" ]]; then',
            '    COMPREPLY=($(compgen -W "$values" -- "$current"))',
            '  elif [[ "$current" == -* ]]; then',
            '    COMPREPLY=($(compgen -W "$options" -- "$current"))',
            '  elif [[ -n "$places" ]]; then',
            '    COMPREPLY=($(compgen -W "$places" -- "$current"))',
            "  fi",
            "}",
            "# Where nothing fits, file names are offered.",
            "complete -o bashdefault -o default -F _samreg samreg",
            "",
        ]
    )


def _zsh(commands: dict[str, tuple[str, list[Argument]]]) -> str:
    lines = [
        "#compdef samreg",
        "# zsh completion for samreg; made by: samreg completion zsh",
        "_samreg() {",
        "  local -a commands",
        "  commands=(",
        *(f"    {_quoted(name + ':' + summary)}" for name, (summary, _) in commands.items()),
        "  )",
        "  if (( CURRENT == 2 )); then",
        "    _describe command commands",
        "    return",
        "  fi",
        '  local command="$words[2]"',
        "  shift words",
        "  (( CURRENT-- ))",
        '  case "$command" in',
    ]
    for name, (_, arguments) in commands.items():
        specs = [
            _quoted(f"{flag}[{_plain(argument.text)}]" + ("" if argument.switch else f":value:{_zsh_action(argument)}"))
            for argument in arguments
            for flag in _flags(argument)
        ]
        places = [argument for argument in arguments if not argument.flags]
        specs += [_quoted(f"{i}:{place.metavar}:{_zsh_action(place)}") for i, place in enumerate(places, 1)]
        lines += [f"    {name}) _arguments \\", *(f"      {spec} \\" for spec in specs), "      ;;"]
    return "\n".join(
        [
            *lines,
            "  esac",
            "}",
            'if [ "$funcstack[1]" = "_samreg" ]; then _samreg "$@"; else compdef _samreg samreg; fi',
            "",
        ]
    )


def _zsh_action(argument: Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    return "_files" if argument.file or not argument.flags else " "


def _fish(commands: dict[str, tuple[str, list[Argument]]]) -> str:
    lines = ["# fish completion for samreg; made by: samreg completion fish"]
    for name, (summary, arguments) in commands.items():
        lines.append(f"complete -c samreg -f -n __fish_use_subcommand -a {name} -d {_fish_quoted(summary)}")
        here = f"complete -c samreg -n '__fish_seen_subcommand_from {name}'"
        for argument in arguments:
            if not argument.flags and argument.choices:
                lines.append(f"{here} -f -a {_fish_quoted(' '.join(argument.choices))}")
            for flag in _flags(argument):
                word = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                value = "" if argument.switch else " -r -F" if argument.file else " -x"
                choices = f" -a {_fish_quoted(' '.join(argument.choices))}" if argument.choices else ""
                lines.append(f"{here} {word}{value}{choices} -d {_fish_quoted(_plain(argument.text))}")
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    """The first sentence, without the characters that zsh reads as its own."""
    first = text.split(". ")[0].rstrip(".")
    return first.replace("[", "(").replace("]", ")").replace(":", " -")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
