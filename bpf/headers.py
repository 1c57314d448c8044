# SPDX-License-Identifier: Apache-2.0
"""A kernel "source tree" of a few hundred bytes, enough for bcc to compile against.

bcc includes a handful of kernel headers in front of every program. The program here reads no
kernel structure by name (its offsets come from BTF), so all it needs of them are integer types.
This saves installing headers that match the kernel, and it is an order of magnitude faster.
"""

from __future__ import annotations

from pathlib import Path

_TYPES = """\
#ifndef AGENTCG_TYPES_H
#define AGENTCG_TYPES_H
typedef signed char s8, __s8;
typedef unsigned char u8, __u8;
typedef short s16, __s16;
typedef unsigned short u16, __u16, __le16, __be16, __sum16;
typedef int s32, __s32, pid_t;
typedef unsigned int u32, __u32, __le32, __be32, __wsum;
typedef long long s64, __s64;
typedef unsigned long long u64, __u64, __le64, __be64;
typedef __u64 __aligned_u64 __attribute__((aligned(8)));
typedef unsigned long size_t, uintptr_t;
typedef long ssize_t;
typedef _Bool bool;
#define NULL ((void *)0)
#define true 1
#define false 0
#endif
"""

# bcc asks for the version only to work around kernels before 4.8.
_VERSION = """\
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 0, 0)
"""

_FILES = {
    "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "linux/types.h": _TYPES,
    "linux/version.h": _VERSION,
    "linux/bpf_common.h": "",  # bcc carries its own copy of the BPF definitions
    "linux/log2.h": "",
    "asm/page.h": "#define PAGE_SIZE 4096UL\n",
    "uapi/linux/bpf.h": "",
    "uapi/linux/if_ether.h": "",
    "uapi/linux/if_packet.h": "",
    "uapi/linux/ptrace.h": "struct pt_regs;\n",
}


def write_tree(directory: Path) -> None:
    """Write the tree below `directory`, for bcc's environment variable BCC_KERNEL_SOURCE."""
    for name, text in _FILES.items():
        path = directory / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
