#!/bin/bash
# petbind in Apptainer on SLURM: a task for each row of participants.tsv, then the group.
#   export IMAGE=$PWD/petbind.sif BIDS=/data/bids OUT=/data/out WORK=/scratch/$USER/work
#   mkdir -p "$OUT" "$WORK"
#   tasks=$(grep -c ^sub- "$BIDS/participants.tsv")
#   array=$(sbatch --parsable --array="1-$tasks" containers/slurm_participant.sh)
#   sbatch --dependency="afterany:$array" containers/slurm_participant.sh
# Submitted again, a task goes on where it was stopped. Nothing asks for a network; where the site
# lets users do so, `apptainer run --net --network none` takes it away.
#SBATCH --job-name=petbind
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --output=petbind-%A_%a.log
set -euo pipefail
: "${IMAGE:?the file petbind.sif}" "${BIDS:?the data set}" "${OUT:?derivatives}" "${WORK:?scratch}"

task=${SLURM_ARRAY_TASK_ID:-}
if [ -n "$task" ]; then
    name=$(grep ^sub- "$BIDS/participants.tsv" | sed -n "${task}p" | cut -f 1)
    work=$WORK/${name:?"participants.tsv has no row $task"}
    words=(participant --participant-label "${name#sub-}")
    words+=(--n-procs "${SLURM_CPUS_PER_TASK:-1}" --mem-gb "$((${SLURM_MEM_PER_NODE:-8192} / 1024))")
else
    work=$WORK/group
    words=(group)
fi
mkdir -p "$work/tmp"
exec apptainer run --cleanenv --containall --workdir "$work/tmp" \
    --bind "$BIDS:/bids:ro" --bind "$OUT:/out" --bind "$work:/work" \
    "$IMAGE" /bids /out "${words[@]}" --work-dir /work
