# Reads command lines from stdin, with the cursor at the end of each, and prints for each the candidates that bash would
# offer, and "." in a line of its own. What to complete with is loaded by bash-completion, as it is for a user.
. /usr/share/bash-completion/bash_completion
while IFS= read -r line; do
    read -ra words <<<"$line"
    tool=${words[0]}
    complete -p "$tool" &>/dev/null || _completion_loader "$tool"
    # As readline does it: "=" stands alone, and after a blank begins a new word.
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line == *[\ =] ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
    function=$(complete -p "$tool" | sed -n 's/.*-F \([^ ]*\).*/\1/p')
    "$function" "$tool" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
    echo .
done
