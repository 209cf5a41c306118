# Flags, messages and dry runs of the scripts beside this one, which source it.

# Empty arrays under `set -u`, and associative ones.
if ((BASH_VERSINFO[0] < 5)); then
  echo "bash $BASH_VERSION is too old: these scripts need bash 5" >&2
  exit 2
fi

USAGE=2  # exit code of a command that cannot be, as the programs have it
declare -A flag=()  # flags by name with their values; a script sets the defaults
run=()  # what stands after --
answer=  # what the last `ask` was told

say() {
  echo "$*" >&2
}

# wrong WHAT FIX: ends the script before anything is called.
wrong() {
  say "$1"
  say "  fix: $2"
  exit "$USAGE"
}

# Words as a shell reads them, quoted only where they must be.
quoted() {
  local word line=() plain='^[-A-Za-z0-9_./:=,@%+~]+$'
  for word in "$@"; do
    if [[ $word =~ $plain ]]; then
      line+=("$word")
    elif [[ $word =~ ^(--[a-z_-]+=)(.*)$ ]]; then
      line+=("${BASH_REMATCH[1]}${BASH_REMATCH[2]@Q}")
    else
      line+=("${word@Q}")
    fi
  done
  echo "${line[*]}"
}

# Runs a command and tells it; a dry run prints it and does nothing.
call() {
  if [[ ${flag[dry_run]} == true ]]; then
    quoted "$@"
    return
  fi
  say "+ $(quoted "$@")"
  "$@"
}

# ask PRETENDED COMMAND...: puts what it prints into `answer`; a dry run pretends that.
ask() {
  local pretended=$1
  shift
  if [[ ${flag[dry_run]} == true ]]; then
    quoted "$@"
    answer=$pretended
    return
  fi
  answer=$("$@")
}

pause() {
  [[ ${flag[dry_run]} == true ]] || sleep "$1"
}

# The comment at the top of a script.
help() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

# parse NEEDED -- ARGUMENTS: fills `flag` and `run`. NEEDED are names that have no default.
parse() {
  local needed=() arg name value
  while [[ $1 != -- ]]; do
    needed+=("$1")
    shift
  done
  shift
  while (($#)); do
    arg=$1
    shift
    case $arg in
      --help | -h) help; exit 0 ;;
      --) run=("$@"); break ;;
      --*=*) name=${arg%%=*} value=${arg#*=} ;;
      --*) name=$arg value=true ;;
      *) wrong "$arg is no flag." 'write --NAME=VALUE; flags of the run stand after --' ;;
    esac
    name=${name#--}
    if [[ -z ${flag[$name]+known} ]]; then
      wrong "There is no flag --$name." "one of: $(printf '%s\n' "${!flag[@]}" | sort | xargs)"
    fi
    if [[ ${flag[$name]} == @(true|false) && $value != @(true|false) ]]; then
      wrong "--$name is yes or no, not $value." "write --$name, or leave it out"
    elif [[ ${flag[$name]} != @(true|false) && $arg != *=* ]]; then
      wrong "--$name needs a value." "write --$name=VALUE"
    fi
    flag[$name]=$value
  done
  for name in "${needed[@]}"; do
    [[ -n ${flag[$name]} ]] || wrong "--$name is missing." "see bash $0 --help"
  done
}

# whole NAME LEAST: the flag must be a number.
whole() {
  local value=${flag[$1]}
  if [[ ! $value =~ ^(0|[1-9][0-9]{0,8})$ ]] || ((value < $2)); then
    wrong "--$1 cannot be $value." "a whole number from $2 on"
  fi
}

# What every script asks of --workdir and of the flags of the run.
check_run() {
  local arg config=
  [[ -f experiments/launch/shell.sh ]] \
    || wrong 'This is not the root of the repository.' 'go there: configs are named from there'
  if [[ ${flag[workdir]} == *://* ]]; then
    wrong "--workdir cannot be ${flag[workdir]}: a run's folder is a path." \
      'mount the bucket or the share, and give the path where it is mounted'
  elif [[ ${flag[workdir]} != /* ]]; then
    wrong "--workdir must be a whole path, not ${flag[workdir]}." 'begin it with /'
  fi
  for arg in "${run[@]}"; do
    case $arg in
      --config=*) config=${arg#*=} ;;
      --workdir | --workdir=* | --hosts | --hosts=* | --coordinator=* | --process*=*)
        wrong "${arg%%=*} is given by this script." 'leave it out after --' ;;
    esac
  done
  if [[ -z $config ]]; then
    wrong 'The run has no --config.' 'write -- --config=experiments/configs/compacter.py ...'
  elif [[ ! -f $config ]]; then
    wrong "There is no config $config." 'they are in experiments/configs'
  fi
}
