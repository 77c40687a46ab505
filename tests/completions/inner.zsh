# What the shell behind the terminal is prepared with: a key that writes all candidates to a file.
PS1= PS2= RPS1=
unsetopt zle_bracketed_paste beep 2>/dev/null
fpath=(/installed/zsh $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
    local word
    for word; do
        case $word in
        -|--) break ;;
        # Somebody asks what would match.
        -[OAD]*) builtin compadd "$@"; return ;;
        esac
    done
    local -a hits
    builtin compadd -A hits "$@"
    candidates+=($hits)
    builtin compadd "$@"
}
capture() {
    candidates=()
    _main_complete
    compstate[insert]= compstate[list]=
    print -rl -- $candidates >/tmp/candidates
}
finish() {
    zle capture
    BUFFER=
    print -n '[''ready]'
}
zle -C capture complete-word capture
zle -N finish
bindkey '^I' finish
print '[''ready]'
