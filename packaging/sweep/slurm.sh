#!/bin/bash
# Slurm: sbatch packaging/sweep/slurm.sh CAMPAIGN.toml FOLDER, with FOLDER on storage that all nodes share.
# The shard is taken from the array's variables. A task that was requeued goes on where it was killed.
#SBATCH --job-name=handsfree-sweep
#SBATCH --array=1-32
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --requeue
set -euo pipefail
exec handsfree sweep "$1" --out "$2"
