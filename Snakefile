# The notebooks of a plan, each a job: `dd_lnl reproduce` writes the plan and calls `settings`, then `figures`; by hand
#   snakemake settings --config plan=$PWD/outputs/digits/cache/plans/profile/plan.json --directory outputs/digits/cache/plans/profile --cores 2
import json
from pathlib import Path

from snakemake.utils import validate

validate(config, "config/schema.yaml")
plan = json.loads(Path(config["plan"]).read_text())
# The first of a plan starts first: its early results are the ones that say something.
urgency = {name: place for kind in ("settings", "figures") for place, name in enumerate(reversed(plan[kind]), 1)}

rule settings:
    input: [f"settings/{name}" for name in plan["settings"]]

rule figures:
    input: [f"figures/{name}" for name in plan["figures"]]

# Which cells are finished is for the records to say: what is in the plan is to be done, and the touched file only ends the job.
# The plan names the Python that runs a job; the environment only documents what that needs, as Snakemake's lint asks.
rule notebook:
    output: touch("{kind}/{name}")
    log: "logs/{kind}/{name}.log"
    conda: "environment.yml"
    priority: lambda job: urgency[job.name]
    threads: lambda job: plan[job.kind][job.name]["threads"]
    resources: gpu=lambda job: plan[job.kind][job.name]["gpu"]
    retries: 1 # two kernels that start at the same moment may fight for a port
    params: python=plan["python"], place=plan["place"], plan=config["plan"]
    shell: "exec > {log:q} 2>&1 && cd {params.place:q} && exec {params.python:q} -c 'from dd_lnl.job import run_job; run_job()' {params.plan:q} {wildcards.kind} {wildcards.name:q}"
