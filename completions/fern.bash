# SPDX-License-Identifier: MIT
# bash completion of the command fern: its options, then the script and, after that,
# files; after `fern test` also --timeout and busted's commonest.

_fern() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -e | -l) i=$((i + 1)) ;;
        test)
            _fern_words "$word" "--timeout= --filter= --filter-out= --tags= --exclude-tags= --output= --repeat= --shuffle --verbose --list --help"
            return ;;
        --) break ;;
        -) return ;;
        -*) ;;
        *)
            _fern_files "$word"
            return ;;
        esac
    done
    case $before in
    -e | -l) return ;;
    esac
    _fern_words "$word" "-e -i -l -v -W --stats --version --help -- -"
    [[ test == "$word"* ]] && COMPREPLY+=(test)
}

# An option if it looks like one, else a file.
_fern_words() {
    if [[ $1 == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    else
        _fern_files "$1"
    fi
}

_fern_files() {
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
    compopt -o filenames 2>/dev/null
}

complete -F _fern fern
