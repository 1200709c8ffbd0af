"""Figures for people: every fault so many times on a real cluster, as a table.

usage: cluster/inside python -m harness.figures [--repeat 20] [--fault NAME]… [--sentinels 3 0]
"""

import argparse
import time

from . import cluster, faults, results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--fault", action="append", choices=faults.ALL, help="only this one; may be repeated")
    parser.add_argument("--sentinels", type=int, nargs="+", default=[3, 0])
    arguments = parser.parse_args()
    begun = time.time()
    cluster.mend_all()
    for sentinels in arguments.sentinels:
        namespace = cluster.Namespace("figures")
        try:
            applied = time.monotonic()
            instance = namespace.instance("figures", {"sentinels": sentinels})
            instance.wait_condition("Ready")
            results.record("apply to Ready", kind=f"sentinels: {sentinels}", seconds=round(time.monotonic() - applied, 1))
            instance.wait_reached()
            for name in arguments.fault or faults.ALL:
                if name == faults.PLANNED and not sentinels:
                    continue
                for n in range(arguments.repeat):
                    outcome = faults.inflict(instance, name)
                    print(f"sentinels {sentinels}, {name}, {n + 1}: {outcome}", flush=True)
                    # A container that is killed again is started only after ten seconds, then twenty; a new pod begins anew.
                    killed = [pod["metadata"]["name"] for pod in instance.pods()
                              if any(one["restartCount"] for one in pod["status"].get("containerStatuses", []))]
                    if killed:
                        instance.delete_pods(*killed)
                        instance.wait_agreed()
                    instance.wait_reached()
        finally:
            namespace.delete()
    print("\n".join(results.table(results.read(begun))))


if __name__ == "__main__":
    main()
