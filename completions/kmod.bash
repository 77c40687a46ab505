# Completion of the module tools in bash. It is installed under the name of each tool, where bash-completion looks for it;
# it needs nothing of that package, so that it can also be sourced.

# Each tool's options; after a colon, what kind of value one takes.
_kmod_once_options() {
    case $1 in
    modprobe)
        echo -a --all -r --remove --remove-holders -w:number --wait:number --jobs:number -R --resolve-alias --show-alias --first-time \
            -i --ignore-install --ignore-remove --ignore-forbid -b --use-blacklist -f --force --force-modversion --force-vermagic \
            -D --show-depends --explain --json -c --showconfig --show-config --show-modversions --dump-modversions --show-exports \
            -n --dry-run --show -C:path --config:path -d:root --dirname:root -S:version --set-version:version \
            -s --syslog -q --quiet -v --verbose -V --version -h --help
        ;;
    insmod) echo -f --force -s --syslog -v --verbose -V --version -h --help ;;
    rmmod) echo -f --force -s --syslog -v --verbose -V --version -h --help ;;
    lsmod | 'kmod list') echo --json -s --syslog -v --verbose -V --version -h --help ;;
    modinfo)
        echo -a --author -d --description -l --license -p --parameters -n --filename -0 --null -m --modname \
            -F:field --field:field --json -k:version --set-version:version -b:root --basedir:root -V --version -h --help
        ;;
    depmod)
        echo -a --all -A --quick -b:root --basedir:root -m:moduledir --moduledir:moduledir -o:dir --outdir:dir \
            -C:path --config:path -E:path --symvers:path -F:path --filesyms:path -e --errsyms -v --verbose \
            -n --show --dry-run -P:character --symbol-prefix:character -w --warn --no-cache --cache-dir:dir --json \
            -V --version -h --help
        ;;
    kmod) echo -V --version -h --help ;;
    'kmod static-nodes') echo -o:path --output:path -f:format --format:format -h --help ;;
    'kmod blame') echo --json --no-pager --until:number -h --help ;;
    'kmod check') echo --json --no-pager -S:version --set-version:version -d:root --dirname:root -C:path --config:path -h --help ;;
    'kmod plot') echo --until:number -h --help ;;
    'kmod stats') echo --json --no-pager --openmetrics --who -h --help ;;
    esac
}

# Candidates that begin with $cur, one a line, from a list of words on stdin. "-" and "_" are the same in a module's name:
# what was typed is kept.
_kmod_once_modules() {
    local name key=${cur//-/_}
    while IFS= read -r name; do
        [[ $name == "$key"* ]] && printf '%s\n' "$cur${name:${#key}}"
    done
}

# The modules of the chosen kernel.
_kmod_once_available() {
    sed -e 's/:.*//' -e 's|.*/||' -e 's/\.ko.*//' -e 'y/-/_/' \
        "$root/lib/modules/${version:-$(uname -r)}/modules.dep" 2>/dev/null
}

# Module files and the directories on the way to them.
_kmod_once_files() {
    compgen -d -- "$cur"
    compgen -f -- "$cur" | grep -E '\.ko(\.(gz|xz|zst))?$'
}

# The parameters of module $1, as "NAME=".
_kmod_once_parameters() {
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin modinfo ${root:+-b "$root"} ${version:+-k "$version"} -p -- "$1" \
        2>/dev/null | sed 's/:.*/=/'
}

# The candidates for a value of kind $1, one a line.
_kmod_once_value() {
    local dir
    case $1 in
    module) _kmod_once_available | _kmod_once_modules ;;
    loaded) cut -d ' ' -f 1 /proc/modules 2>/dev/null | _kmod_once_modules ;;
    file) _kmod_once_files ;;
    path) compgen -f -- "$cur" ;;
    dir | root) compgen -d -- "$cur" ;;
    moduledir) compgen -W 'lib/modules usr/lib/modules' -- "$cur" ;;
    version)
        for dir in "$root/${moduledir:-lib/modules}"/*/; do
            dir=${dir%/}
            [[ -d $dir && ${dir##*/} == "$cur"* ]] && printf '%s\n' "${dir##*/}"
        done
        ;;
    field)
        compgen -W 'filename name author description license version srcversion build-id alias depends softdep
            weakdep firmware import_ns intree retpoline vermagic sig_id signer sig_key sig_hashalgo signature
            parm' -- "$cur"
        ;;
    format) compgen -W 'human tmpfiles devname' -- "$cur" ;;
    parameter) [[ $cur != *=* ]] && compgen -W "$(_kmod_once_parameters "$2")" -- "$cur" ;;
    part) compgen -W 'config machine modules' -- "$cur" ;;
    command) compgen -W 'blame check help list plot stats static-nodes' -- "$cur" ;;
    esac
}

# What the words before the cursor say: fills the variables of _kmod_once.
_kmod_once_read() {
    local word letters option plain=
    for word; do
        if [[ $waiting ]]; then
            _kmod_once_note "$waiting" "$word"
            waiting=
        elif [[ $plain || $word != -?* ]]; then
            operands+=("$word")
            if [[ $tool == kmod ]]; then
                tool="kmod $word"
                table=" $(_kmod_once_options "$tool") "
            fi
        elif [[ $word == -- ]]; then
            plain=1
        elif [[ $word == --*=* ]]; then
            _kmod_once_note "${word%%=*}" "${word#*=}"
        elif [[ $word == --* ]]; then
            _kmod_once_option "$word"
        else
            for ((letters = 1; letters < ${#word}; letters++)); do
                option=-${word:letters:1}
                if [[ $table == *" $option:"* && ${word:letters+1} ]]; then
                    _kmod_once_note "$option" "${word:letters+1}"
                    break
                fi
                _kmod_once_option "$option"
            done
        fi
    done
    options_end=$plain
}

# An option without a value so far.
_kmod_once_option() {
    if [[ $table == *" $1:"* ]]; then
        waiting=$1
    else
        flags+=" $1 "
    fi
}

# The kind of value that option $1 takes.
_kmod_once_kind() {
    local rest=${table#*" $1:"}
    [[ $rest != "$table" ]] && echo "${rest%% *}"
}

_kmod_once_note() {
    case $(_kmod_once_kind "$1") in
    root) root=${2/#\~\//$HOME/} ;;
    version) version=$2 ;;
    moduledir) moduledir=$2 ;;
    esac
}

_kmod_once() {
    local tool=${1##*/} cur table waiting= flags= options_end= root= version= moduledir= kind= what= line= prefix=
    local words=() operands=()
    table=" $(_kmod_once_options "$tool") "
    # readline breaks words at "=", too.
    for line in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if ((${#words[@]})) && [[ $line == =* || ${words[-1]} == *= ]]; then
            words[-1]+=$line
        else
            words+=("$line")
        fi
    done
    cur=${words[-1]}
    unset 'words[-1]'
    _kmod_once_read "${words[@]}"

    if [[ $waiting ]]; then
        kind=$(_kmod_once_kind "$waiting")
    elif [[ ! $options_end && $cur == --*=* ]]; then
        kind=$(_kmod_once_kind "${cur%%=*}")
        # Where "=" is no break, the candidates have to begin with the option.
        [[ ${COMP_WORDS[COMP_CWORD]} == "$cur" ]] && prefix=${cur%%=*}=
        cur=${cur#*=}
    elif [[ ! $options_end && $cur == -* ]]; then
        kind=option
    else
        case $tool:${#operands[@]} in
        modprobe:*)
            if [[ $flags == *' -r '* || $flags == *' --remove '* || $flags == *' --remove-holders '* ]]; then
                kind=loaded
            elif [[ ${#operands[@]} -gt 0 && ! $flags =~ ' '(-a|--all|--explain)' ' ]]; then
                kind=parameter
            elif [[ $cur == /* || $cur == ./* ]]; then
                kind=file
            else
                kind=module
            fi
            ;;
        insmod:0) kind=file ;;
        insmod:*) kind=parameter ;;
        rmmod:*) kind=loaded ;;
        modinfo:*) kind='module file' ;;
        depmod:0) kind=version ;;
        depmod:*) kind=file ;;
        kmod:0) kind=command ;;
        'kmod check':*) kind=part ;;
        esac
    fi

    COMPREPLY=()
    for what in $kind; do
        if [[ $what == option ]]; then
            line=$(compgen -W "$(sed 's/:[a-z]*//g' <<<"$table")" -- "$cur")
        else
            line=$(_kmod_once_value "$what" "${operands[0]}")
        fi
        [[ $line ]] && while IFS= read -r line; do COMPREPLY+=("$prefix$line"); done <<<"$line"
    done
    case $kind in
    *file | path | dir | root) compopt -o filenames 2>/dev/null ;;
    parameter) compopt -o nospace 2>/dev/null ;;
    esac
}

complete -F _kmod_once modprobe insmod rmmod lsmod modinfo depmod kmod
