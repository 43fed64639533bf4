#!/usr/bin/env bash
# One method over five seeds, in plain commands: for those who have a scheduler of their own.
#
#   scripts/multi_seed.sh DATASET DATASET_DIR LABELED METHOD RUNS [SETTING VALUE]...
#   scripts/multi_seed.sh la DATA 8 tcseg RUNS --max_steps 6000
#   SEEDS="1 2" scripts/multi_seed.sh phantom PHANTOMS 4 supervised RUNS
#
# As a SLURM array it is the same file, one seed a task:
#
#   sbatch --array=1-5 --gpus=1 --cpus-per-task=4 --time=12:00:00 scripts/multi_seed.sh la DATA 8 tcseg RUNS
#
# A run that was cut goes on when the command is given again; a finished one is not trained again.
set -euo pipefail

if [ "$#" -lt 5 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0"
  exit 2
fi
dataset=$1 dataset_dir=$2 labeled=$3 method=$4 runs=$5
shift 5
python=${PYTHON:-python}

for seed in ${SLURM_ARRAY_TASK_ID:-${SEEDS:-1 2 3 4 5}}; do
  run=$runs/$dataset-$method-labeled$labeled-seed$seed
  "$python" -m medssl train "$dataset" "$method" --dataset_dir "$dataset_dir" --labeled "$labeled" --seed "$seed" \
    --run_dir "$run" "$@" --resume
  "$python" -m medssl evaluate "$run" --overwrite
done
