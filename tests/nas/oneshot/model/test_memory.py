import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS_OF_A_TENSOR = """
import resource, threading, torch
from nas.oneshot.model.memory import keep_freed_memory

def faults_of_one_tensor():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)  # 80 MB: more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def say(where):
    print(where, min(faults_of_one_tensor() for _ in range(6)))  # the heap takes a tensor or two to settle

assert keep_freed_memory()
say("at_first")
thread = threading.Thread(target=say, args=["in_a_thread"])
thread.start()
thread.join()
try:
    torch.empty(10**14)
except RuntimeError:
    say("after_a_failure")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_memory_that_was_freed_is_not_fetched_from_the_kernel_again():
    ran = subprocess.run([sys.executable, "-c", FAULTS_OF_A_TENSOR], capture_output=True, text=True, check=True)
    faults = {where: int(count) for where, count in (line.split() for line in ran.stdout.splitlines())}
    assert set(faults) == {"at_first", "in_a_thread", "after_a_failure"}
    assert max(faults.values()) < 1000  # of 19,532 pages of 4 kB


ADDRESSES = """
import resource
from nas.oneshot.model.memory import keep_freed_memory

def addresses():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

before = addresses()
if LIMITED:
    resource.setrlimit(resource.RLIMIT_AS, (before + 2**30, before + 2**30))
assert keep_freed_memory()
print(addresses() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
@pytest.mark.parametrize("limited", [True, False])
def test_addresses_are_set_apart_only_where_they_are_not_limited(limited):
    program = f"LIMITED = {limited}\n{ADDRESSES}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(ran.stdout) < 2**27) is limited


FLAGS_OF_A_TENSOR = """
import torch
from nas.oneshot.model.memory import keep_freed_memory
keep_freed_memory()
at = torch.empty(20_000_000).data_ptr() + 40_000_000  # in its middle
inside = False
for line in open("/proc/self/smaps"):
    first = line.split()[0]
    if "-" in first:
        start, end = (int(address, 16) for address in first.split("-"))
        inside = start <= at < end
    elif first == "VmFlags:" and inside:
        print(line)
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without huge pages")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_feature_maps_lie_where_the_kernel_was_told_to_use_huge_pages():
    ran = subprocess.run([sys.executable, "-c", FLAGS_OF_A_TENSOR], capture_output=True, text=True, check=True)
    assert "hg" in ran.stdout.split()
