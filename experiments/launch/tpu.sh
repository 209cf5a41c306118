# What the scripts for TPUs share: asking after a machine, copying, starting, following, fetching.
# Sourced after shell.sh. The flags name, zone, project, out, setup, poll and workdir are set.

SOURCE=source.tar.gz
UNREACHED=20  # answers that may be missing in a row while a machine says that it is well
UNPACK="mkdir -p compacter_jax && rm -rf compacter_jax/compacter_jax compacter_jax/experiments"
UNPACK+=" && tar -xzf $SOURCE -C compacter_jax"
deletion=()  # the command that deletes the machine, as long as there may be one
packed=false
ended=  # how the run ended: an exit code, or gone for its machine, or vanished for its process

# What every script for TPUs asks of its flags.
check_tpu() {
  local config name='^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$'
  [[ ${flag[name]} =~ $name ]] \
    || wrong "--name cannot be ${flag[name]}." 'small letters, digits and -, a letter first'
  whole poll 0
  check_run
  [[ -n ${flag[out]} ]] || flag[out]=fetched/${flag[name]}
  for config in "${run[@]}"; do
    # What is copied is the last commit.
    if [[ $config == --config=* ]] && ! git cat-file -e "HEAD:./${config#*=}" 2>/dev/null; then
      wrong "${config#*=} is not in the last commit, which is what is copied." 'commit it'
    fi
  done
  if [[ -n $(git status --porcelain --untracked-files=no) ]]; then
    say 'note: there are changes that are not committed; the last commit is what is copied'
  fi
}

# However a script ends: what may still cost.
remind() {
  if ((${#deletion[@]})) && [[ ${flag[dry_run]} == false ]]; then
    say "${flag[name]} may still be there, and costs until it is deleted:"
    say "  $(quoted "${deletion[@]}")"
  fi
}

# gcloud_words VERB...: puts a gcloud command about this machine into `words`.
gcloud_words() {
  words=(gcloud compute tpus "$@" "--zone=${flag[zone]}" "--project=${flag[project]}")
}

# on WORKERS COMMAND: runs a command line there.
on() {
  gcloud_words tpu-vm ssh "${flag[name]}" "--worker=$1" "--command=$2"
  call "${words[@]}"
}

# worker WORKERS VERB...: calls worker.sh there.
worker() {
  on "$1" "$(worker_line "${@:2}")"
}

worker_line() {
  echo "bash compacter_jax/experiments/launch/worker.sh $(quoted "$@")"
}

# Puts the state of the machine into `answer`; '' where there is none. Fails where nobody answers.
# $1: what a dry run pretends.
machine_state() {
  gcloud_words tpu-vm list "--filter=name~/${flag[name]}\$" '--format=value(state)'
  ask "$1" "${words[@]}"
}

# Puts the state of the run of the first worker into `answer`.  $1: what a dry run pretends.
run_state() {
  gcloud_words tpu-vm ssh "${flag[name]}" --worker=0 "--command=$(worker_line state)"
  ask "$1" "${words[@]}"
}

# Puts the last commit into --out, once: a run that goes on does so with the same source.
pack() {
  [[ $packed == false ]] || return 0
  call mkdir -p "${flag[out]}" \
    && call git archive --format=tar.gz "--output=${flag[out]}/$SOURCE" HEAD \
    && packed=true
}

# Copies the source to all workers and installs it.
prepare() {
  pack \
    && gcloud_words tpu-vm scp "${flag[out]}/$SOURCE" "${flag[name]}:" --worker=all \
    && call "${words[@]}" \
    && on all "$UNPACK" \
    && { [[ -z ${flag[setup]} ]] || on all "${flag[setup]}"; } \
    && worker all install
}

# Waits until the run has ended and puts how into `ended`.
follow() {
  local unreached=0
  while true; do
    run_state 'run: ended 0' || answer=
    case $answer in
      *'run: ended '*) ended=${answer##*run: ended }; return ;;
      *'run: none'*) ended=vanished; return ;;
      *'run: working'*) unreached=0 ;;
      *)
        if machine_state READY && [[ $answer != READY ]]; then
          ended=gone
          return
        elif ((++unreached > UNREACHED)); then
          ended=vanished
          return
        fi
        ;;
    esac
    pause "${flag[poll]}"
  done
}

# Deletes the machine unless it is to be kept.
finish() {
  if [[ ${flag[keep]} == false ]]; then
    call "${deletion[@]}"
    deletion=()
  fi
}

# Copies the folder of the run, and its log, to --out.
fetch() {
  local at=${flag[name]}:${flag[workdir]}
  gcloud_words tpu-vm scp --recurse "$at" "$at-log" "${flag[out]}" --worker=0
  call "${words[@]}"
}
