# Reads command lines from stdin, with the cursor at the end of each, and prints for each the candidates that fish would
# offer, and "." in a line of its own.
set -gx fish_complete_path /installed/fish
while read -l line
    complete -C "$line" | string replace -r '\t.*' ''
    echo .
end
