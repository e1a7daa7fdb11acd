"""Writes CronJobs of Kubernetes, and the Containerfile of their image."""

import json
from collections.abc import Iterable
from datetime import datetime

from bulkstop.schedule.export.job import Job, plan_in, write_cron_times

LEAST_DEADLINE_S = 60
CONTAINERFILE = """\
# The image of the CronJobs, and of a server: build it in a checkout of bulkstop.
FROM docker.io/library/python:3.13-slim
COPY . /src
RUN python -m pip install --no-cache-dir "/src[holidays]" && rm -rf /src \\
    && useradd --uid 65532 --no-create-home bulkstop
USER 65532:65532
WORKDIR /etc/bulkstop
ENTRYPOINT ["bulkstop"]
"""


def write_manifests(job: Job) -> dict[str, str]:
    """Return the manifests of a schedule, and the Containerfile."""
    run = ["schedule", "run", job.name, "--config", job.config]
    cronjobs = _write_all(job, f"bulkstop-{job.name}", job.moments, run)
    if job.preflights:
        cronjobs += _write_all(job, f"bulkstop-{job.name}-pre", job.preflights, [*run, "--preflight", "--if-due"])
    text = "---\n".join([_write_head(job), *cronjobs, _write_claim()])
    return {f"bulkstop-{job.name}.yaml": text, "Containerfile": CONTAINERFILE}


def _write_head(job: Job) -> str:
    files = " ".join(f"--from-file={each.name}={each.path}" for each in job.secrets)
    secret = f"#   kubectl create secret generic bulkstop {files}\n" if files else ""
    return (
        f"{job.head}\n# Before it is applied:\n#   kubectl create configmap bulkstop --from-file={job.config}\n{secret}"
        "# A list (input) belongs into the configmap, too. Kubernetes fires twice where clocks are set back: the\n"
        "# journal of the results notices, and leaves out a time that they do not show: extra CronJobs have that.\n"
    )


def _write_all(job: Job, name: str, moments: Iterable[datetime], run: list[str]) -> list[str]:
    times = write_cron_times(plan_in(moments, job.zone))
    return [
        _write_cronjob(job, name if number == 1 else f"{name}-{number}", each, run)
        for number, each in enumerate(times, start=1)
    ]


def _write_cronjob(job: Job, name: str, times: str, run: list[str]) -> str:
    variables = "".join(
        f"                - {{name: {each.variable}, value: {_text(f'/run/secrets/bulkstop/{each.name}')}}}\n"
        for each in job.secrets
    )
    secret_mount = (
        "                - {name: secrets, mountPath: /run/secrets/bulkstop, readOnly: true}\n" if job.secrets else ""
    )
    secret_volume = (
        "            - {name: secrets, secret: {secretName: bulkstop, defaultMode: 0440}}\n" if job.secrets else ""
    )
    return f"""\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: {_text(times)}
  timeZone: {_text(job.zone)}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {max(int(job.catch_up_s), LEAST_DEADLINE_S)}
  jobTemplate:
    spec:
      backoffLimit: 0
      activeDeadlineSeconds: {int(job.longest_s)}
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: {job.stop_s}
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            runAsGroup: 65532
            fsGroup: 65532
            seccompProfile: {{type: RuntimeDefault}}
          containers:
            - name: bulkstop
              image: {_text(job.image)}
              workingDir: {_text(job.directory)}
              args: {json.dumps(run)}
              env:
                - {{name: XDG_STATE_HOME, value: {_text(job.results)}}}
{variables}\
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities: {{drop: [ALL]}}
              resources:
                requests: {{cpu: 100m, memory: 128Mi}}
                limits: {{memory: 512Mi}}
              volumeMounts:
                - {{name: config, mountPath: {_text(job.directory)}, readOnly: true}}
{secret_mount}\
                - {{name: results, mountPath: {_text(job.results)}}}
                - {{name: scratch, mountPath: /tmp}}
          volumes:
            - {{name: config, configMap: {{name: bulkstop}}}}
{secret_volume}\
            - {{name: results, persistentVolumeClaim: {{claimName: bulkstop-results}}}}
            - {{name: scratch, emptyDir: {{}}}}
"""


def _write_claim() -> str:
    return """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: bulkstop-results
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests: {storage: 1Gi}
"""


def _text(value: str) -> str:
    return json.dumps(value)
