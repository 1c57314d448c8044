# SPDX-License-Identifier: Apache-2.0
#
# For BASH_ENV: bash reads this before it runs a script or a -c. A `bash -c` that is in no call gets
# one; all others cost it a read of /proc/self/cgroup, without a process. AGENTCG_BASH_ENV: the file
# that BASH_ENV named before.
if [[ ${BASH_EXECUTION_STRING+x} ]]; then
    _agentcg=
    { IFS= read -r -d '' _agentcg < /proc/self/cgroup; } 2> /dev/null || :
    [[ $_agentcg == */call-* ]] || "${AGENTCG_SHELL:-agentcg-shell}" --join "$BASH_EXECUTION_STRING" \
        < /dev/null > /dev/null 2>&1 || :
    unset _agentcg
fi
[[ -z ${AGENTCG_BASH_ENV-} || ! -r $AGENTCG_BASH_ENV ]] || . "$AGENTCG_BASH_ENV"
