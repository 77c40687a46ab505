# Completion of the module tools in fish. It is installed under the name of each tool, where fish looks for it.

# What the words before the cursor say, one thing a line: "root DIR", "version VERSION", "moduledir DIR", "remove", "all" if
# every operand is a module, and "operand WORD" for each operand. They are read as the tool reads them.
function __kmod_once_said
    set -l words (commandline -opc)
    set -l options
    switch (string replace -r '.*/' '' -- $words[1])
        case modprobe
            set options a/all r/remove remove-holders R/resolve-alias i/ignore-install ignore-forbid b/use-blacklist f/force D/show-depends \
                c/show-config n/dry-run s/syslog q/quiet v/verbose w/wait= jobs= explain C/config= d/dirname= S/set-version=
        case modinfo
            set options a/author d/description l/license p/parameters n/filename m/modname F/field= \
                k/set-version= b/basedir=
        case depmod
            set options a/all A/quick e/errsyms v/verbose n/show w/warn b/basedir= m/moduledir= o/outdir= \
                C/config= E/symvers= F/filesyms= P/symbol-prefix= cache-dir=
        case insmod rmmod
            set options f/force s/syslog v/verbose
        case kmod
            set options C/config= d/dirname= S/set-version=
    end
    # The option before the cursor may still lack its value.
    argparse -i $options -- $words[2..-1] '<cursor>' 2>/dev/null
    set -l root (string replace -r '^~/' "$HOME/" -- $_flag_dirname $_flag_basedir)
    for pair in root\ $root version\ $_flag_set_version moduledir\ $_flag_moduledir operand\ $argv
        string match -qr '<cursor>$|^operand -' -- $pair; or echo $pair
    end
    set -q _flag_remove; or set -q _flag_remove_holders; and echo remove
    set -q _flag_all; or set -q _flag_explain; and echo all
end

# The rest of the lines that begin with this word.
function __kmod_once_value -a key
    string replace -rf "^$key " '' -- (__kmod_once_said)
end

# Whether so many operands stand before the cursor, or with "+" at least so many.
function __kmod_once_after -a wanted plus
    set -l count (count (__kmod_once_value operand))
    test $count -eq $wanted; or test "$plus" = + -a $count -gt $wanted
end

# Whether the next word of a modprobe command is a module to insert, or else a parameter.
function __kmod_once_inserts
    set -l said (__kmod_once_said)
    contains remove $said; and return 1
    contains all $said; or not string match -q 'operand *' -- $said
end

function __kmod_once_removes
    contains remove (__kmod_once_said)
end

function __kmod_once_takes_parameters
    not __kmod_once_removes; and not __kmod_once_inserts
end

# Names of modules, for what was typed: "-" and "_" are the same in them.
function __kmod_once_names
    set -l typed (commandline -ct)
    set -l begin "^"(string escape --style=regex -- (string replace -a -- - _ "$typed"))
    string replace -a -- - _ $argv | string replace -rf -- $begin "$typed"
end

function __kmod_once_modules
    set -l root (__kmod_once_value root)
    set -l release (__kmod_once_value version) (uname -r)
    set -l index "$root/lib/modules/$release[1]/modules.dep"
    test -r $index; and __kmod_once_names (string replace -rf '^([^:]*/)?([^:/]*?)\.ko.*' '$2' <$index)
end

function __kmod_once_loaded
    test -r /proc/modules; and __kmod_once_names (string replace -r ' .*' '' </proc/modules)
end

function __kmod_once_versions
    set -l root (__kmod_once_value root)
    set -l below (__kmod_once_value moduledir) lib/modules
    for dir in "$root"/$below[1]/*/
        string replace -r '.*/(.*)/$' '$1' -- $dir
    end
end

# Module files, and the directories on the way to them.
function __kmod_once_files
    set -l typed (commandline -ct)
    set -l begin (string replace -r "^~/" "$HOME/" -- "$typed")
    for file in $begin*
        if test -d $file
            set file $file/
        else if not string match -qr '\.ko(\.(gz|xz|zst))?$' -- $file
            continue
        end
        echo $typed(string sub -s (math (string length -- "$begin") + 1) -- $file)
    end
end

# The parameters of the first operand, a module or a file.
function __kmod_once_parameters
    set -l root (__kmod_once_value root)
    set -l release (__kmod_once_value version)
    set -q root[1]; and set root -b $root
    set -q release[1]; and set release -k $release
    set -lx PATH $PATH /usr/local/sbin /usr/sbin /sbin
    set -l operands (__kmod_once_value operand)
    command -q modinfo; and modinfo $root $release -p -- $operands[1] 2>/dev/null | string replace -rf '^([^:]+):.*' '$1='
end

for tool in modprobe insmod rmmod lsmod modinfo depmod kmod
    complete -c $tool -e
    complete -c $tool -f
end

complete -c modprobe -s a -l all -d 'Every operand is a module'
complete -c modprobe -s r -l remove -d 'Remove modules'
complete -c modprobe -l remove-holders -d 'Remove the modules that use it, too'
complete -c modprobe -s w -l wait -x -d 'While it is in use, try again for milliseconds'
complete -c modprobe -l jobs -x -d 'Load so many modules at the same time'
complete -c modprobe -s R -l resolve-alias -d 'Print the modules that a name stands for'
complete -c modprobe -l show-alias -d 'Print the modules that a name stands for'
complete -c modprobe -l first-time -d 'Fail if there is nothing to do'
complete -c modprobe -s i -l ignore-install -d 'No install commands, no softdeps'
complete -c modprobe -l ignore-remove -d 'No remove commands, no softdeps'
complete -c modprobe -l ignore-forbid -d 'Load even what the configuration forbids'
complete -c modprobe -s b -l use-blacklist -d 'The blacklist counts for names, too'
complete -c modprobe -s f -l force -d 'No comparison of versions; DANGEROUS'
complete -c modprobe -l force-modversion -d 'Do not compare the versions of symbols'
complete -c modprobe -l force-vermagic -d 'Do not compare the version magic'
complete -c modprobe -s D -l show-depends -d 'Print what would be inserted if nothing were loaded'
complete -c modprobe -l explain -d 'Say what would be done and why'
complete -c modprobe -l json -d 'With --explain: for programs'
complete -c modprobe -s c -l showconfig -d 'Print the configuration'
complete -c modprobe -l show-config -d 'Print the configuration'
complete -c modprobe -l show-modversions -d 'Print the symbol versions that a module needs'
complete -c modprobe -l dump-modversions -d 'Print the symbol versions that a module needs'
complete -c modprobe -l show-exports -d 'Print the symbols that a module exports'
complete -c modprobe -s n -l dry-run -d 'Change nothing'
complete -c modprobe -l show -d 'Change nothing'
complete -c modprobe -s C -l config -rF -d 'Read the configuration from there'
complete -c modprobe -s d -l dirname -x -a '(__fish_complete_directories)' -d 'Look for /lib/modules below'
complete -c modprobe -s S -l set-version -x -a '(__kmod_once_versions)' -d 'Use the modules of that kernel'
complete -c modprobe -s q -l quiet -d 'No messages'
complete -c modprobe -n __kmod_once_inserts -a '(__kmod_once_modules)'
complete -c modprobe -n '__kmod_once_inserts; and string match -qr "^\.?/" -- (commandline -ct)' -a '(__kmod_once_files)'
complete -c modprobe -n __kmod_once_removes -a '(__kmod_once_loaded)'
complete -c modprobe -n __kmod_once_takes_parameters -a '(__kmod_once_parameters)'

complete -c insmod -s f -l force -d 'No comparison of versions; DANGEROUS'
complete -c insmod -n '__kmod_once_after 0' -a '(__kmod_once_files)'
complete -c insmod -n '__kmod_once_after 1 +' -a '(__kmod_once_parameters)'

complete -c rmmod -s f -l force -d 'Also while it is in use; DANGEROUS'
complete -c lsmod -l json -d 'Print JSON'

complete -c rmmod -a '(__kmod_once_loaded)'

complete -c modinfo -s a -l author -d 'Print only the authors'
complete -c modinfo -s d -l description -d 'Print only the description'
complete -c modinfo -s l -l license -d 'Print only the licence'
complete -c modinfo -s p -l parameters -d 'Print only the parameters'
complete -c modinfo -s n -l filename -d 'Print only the file\'s path'
complete -c modinfo -s 0 -l null -d 'End each item with a NUL'
complete -c modinfo -s m -l modname -d 'The operands are names of modules'
complete -c modinfo -s F -l field -x -d 'Print only the values of a field' -a 'filename name author description license
    version srcversion build-id alias depends softdep weakdep firmware import_ns intree retpoline vermagic sig_id signer
    sig_key sig_hashalgo signature parm'
complete -c modinfo -l json -d 'Print everything as JSON'
complete -c modinfo -s k -l set-version -x -a '(__kmod_once_versions)' -d 'Use the modules of that kernel'
complete -c modinfo -s b -l basedir -x -a '(__fish_complete_directories)' -d 'Look for /lib/modules below'
complete -c modinfo -a '(__kmod_once_modules)'
complete -c modinfo -a '(__kmod_once_files)'

complete -c depmod -s a -l all -d 'Read all modules'
complete -c depmod -s A -l quick -d 'Do nothing unless the modules are others than those indexed'
complete -c depmod -s b -l basedir -x -a '(__fish_complete_directories)' -d 'The root'
complete -c depmod -s m -l moduledir -x -a 'lib/modules usr/lib/modules' -d 'Where modules are below the root'
complete -c depmod -s o -l outdir -x -a '(__fish_complete_directories)' -d 'The root below which to write'
complete -c depmod -s C -l config -rF -d 'Read the configuration from there'
complete -c depmod -s E -l symvers -rF -d 'Symbols and versions of the kernel'
complete -c depmod -s F -l filesyms -rF -d 'Symbols of the kernel'
complete -c depmod -s e -l errsyms -d 'Report symbols that nothing provides'
complete -c depmod -s v -l verbose -d 'More messages'
complete -c depmod -s n -l show -d 'Print the text files, write nothing'
complete -c depmod -l dry-run -d 'Print the text files, write nothing'
complete -c depmod -s P -l symbol-prefix -x -d 'What symbols may begin with'
complete -c depmod -s w -l warn -d 'Warn of duplicates'
complete -c depmod -l no-cache -d 'Read every module'
complete -c depmod -l cache-dir -x -a '(__fish_complete_directories)' -d 'Keep what was read there'
complete -c depmod -l json -d 'Print what was done as JSON'
complete -c depmod -n '__kmod_once_after 0' -a '(__kmod_once_versions)'
complete -c depmod -n '__kmod_once_after 1 +' -a '(__kmod_once_files)'

for tool in modprobe insmod rmmod lsmod
    complete -c $tool -s s -l syslog -d 'Messages go to the system log'
    complete -c $tool -s v -l verbose -d 'More messages'
end
for tool in modprobe insmod rmmod lsmod modinfo depmod
    complete -c $tool -s V -l version -d 'Print the version'
    complete -c $tool -s h -l help -d 'Print a list of the options'
end

complete -c kmod -n __fish_is_first_token -s V -l version -d 'Print the version'
complete -c kmod -n "not __fish_seen_subcommand_from help" -s h -l help -d 'Print a list of the options'
complete -c kmod -n __fish_is_first_token -a blame -d 'Which modules took long to load'
complete -c kmod -n __fish_is_first_token -a check -d 'What is wrong with configuration, modules and machine'
complete -c kmod -n __fish_is_first_token -a help -d 'Print the help text'
complete -c kmod -n __fish_is_first_token -a list -d 'List the loaded modules'
complete -c kmod -n __fish_is_first_token -a plot -d 'An SVG of when each module was loaded'
complete -c kmod -n __fish_is_first_token -a stats -d 'What loading each module once has saved'
complete -c kmod -n __fish_is_first_token -a static-nodes -d 'The device nodes that load their module'
complete -c kmod -n '__fish_seen_subcommand_from blame check list stats' -l json -d 'Print JSON'
complete -c kmod -n '__fish_seen_subcommand_from blame check stats' -l no-pager -d 'Print a long list at once'
complete -c kmod -n '__fish_seen_subcommand_from list' -s s -l syslog -d 'Messages go to the system log'
complete -c kmod -n '__fish_seen_subcommand_from list' -s v -l verbose -d 'More messages'
complete -c kmod -n '__fish_seen_subcommand_from list' -s V -l version -d 'Print the version'
complete -c kmod -n '__fish_seen_subcommand_from blame plot' -l until -x -d 'Only what was asked for so long after boot'
complete -c kmod -n '__fish_seen_subcommand_from check' -a 'config machine modules'
complete -c kmod -n '__fish_seen_subcommand_from check' -s S -l set-version -x -a '(__kmod_once_versions)' \
    -d 'Check the modules of that kernel'
complete -c kmod -n '__fish_seen_subcommand_from check' -s d -l dirname -x -a '(__fish_complete_directories)' \
    -d 'Check the system below'
complete -c kmod -n '__fish_seen_subcommand_from check' -s C -l config -rF -d 'Check the configuration there'
complete -c kmod -n '__fish_seen_subcommand_from stats' -l openmetrics -d 'Print the counts for Prometheus'
complete -c kmod -n '__fish_seen_subcommand_from stats' -l who -d 'Who asked, from the trace'
complete -c kmod -n '__fish_seen_subcommand_from static-nodes' -s o -l output -rF -d 'Write there'
complete -c kmod -n '__fish_seen_subcommand_from static-nodes' -s f -l format -x -a 'human tmpfiles devname' \
    -d 'How to print them'
