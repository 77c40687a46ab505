# Reads command lines from stdin, with the cursor at the end of each, and prints for each the candidates that zsh would
# offer, and "." in a line of its own. Completion works in an interactive shell only, so there is one behind a terminal.
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell ". $1"
zpty -r shell answer '*[[]ready[]]*'
while IFS= read -r line; do
    zpty -w -n shell $line$'\t'
    zpty -r shell answer '*[[]ready[]]*' || exit 1
    print -rn -- "$(</tmp/candidates)" $'\n.\n'
done
zpty -d shell
