#!/bin/bash
# Meta-training on two nodes of four GPUs each, which resumes after preemption and at the time limit:
#
#   sbatch docs/slurm.sh configs/paper.yaml
#
#SBATCH --job-name=lit_lul
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=SIGUSR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log

# SLURM sends SIGUSR1 300 seconds before the time limit, to the ranks and not to this script. They
# finish their outer step, save last.ckpt and exit with 138: 128 plus the signal's number.

set -u
config=${1:?expected a configuration file}
name=job_${SLURM_JOB_ID}

resume=()
if [ -f "runs/$name/version_0/checkpoints/last.ckpt" ]; then
  resume=(--ckpt_path last)
fi

srun python -m lit_lul fit --config "$config" \
  --trainer.strategy ddp --trainer.num_nodes "$SLURM_NNODES" --trainer.devices 4 \
  --trainer.enable_progress_bar false \
  --trainer.logger "[{class_path: lit_lul.training.loggers.RunCSVLogger, init_args: {save_dir: runs, name: $name}}]" \
  "${resume[@]}"
status=$?

if [ "$status" -eq 138 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
