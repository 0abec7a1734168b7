#!/bin/bash
# Score a table as a Slurm array, one task a shard, then join the shards:
#     jobid=$(sbatch --parsable examples/slurm.sh variants.parquet models/ scores.parquet)
#     sbatch --dependency=afterok:$jobid --wrap "legscore merge scores.parquet.shards/*.parquet -o scores.parquet"
# A task that was killed or ran out of time goes on from what it has when it is submitted again.
#SBATCH --job-name=legscore
#SBATCH --array=1-64
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
set -euo pipefail
input=$1 models=$2 output=$3
mkdir -p "$output.shards"
shard=$(printf '%s.shards/%05d.parquet' "$output" "$SLURM_ARRAY_TASK_ID")
srun legscore run "$input" -m "$models" -o "$shard" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
    --threads "$SLURM_CPUS_PER_TASK" --log-json "$shard.jsonl" --quiet
