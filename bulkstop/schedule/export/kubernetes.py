"""Writes CronJobs of Kubernetes, and the Containerfile of their image."""

import json
from collections.abc import Iterable
from datetime import datetime

from bulkstop.schedule.export.job import Job, SecretFile, plan_in, write_cron_times

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
    files = _list_files(job.needed)
    secret = f"#   kubectl create secret generic bulkstop {files}\n" if files else ""
    if possible := _list_files(each for each in job.possible if _is_within(job, each)):
        secret += f"# Its list may name more profiles; the secret may have the files of those, too:\n#   {possible}\n"
    if left := " ".join(each.path for each in job.possible if not _is_within(job, each)):
        secret += f"# Files of such profiles that lie elsewhere are not mounted: {left}\n"
    return (
        f"{job.head}\n# Before it is applied:\n#   kubectl create configmap bulkstop --from-file={job.config}\n{secret}"
        "# Files that it names (input, targets, protect, holidays_file, ca) must be in the configmap, too.\n"
        "# When clocks are set back, Kubernetes fires twice; the journal of the results prevents a second run. When\n"
        "# clocks are set forward, Kubernetes leaves out a time that does not exist; extra CronJobs fire then.\n"
    )


def _list_files(secrets: Iterable[SecretFile]) -> str:
    return " ".join(f"--from-file={each.name}={each.path}" for each in secrets)


def _is_within(job: Job, secret: SecretFile) -> bool:
    return secret.path.startswith(f"{job.directory}/")


def _write_all(job: Job, name: str, moments: Iterable[datetime], run: list[str]) -> list[str]:
    times = write_cron_times(plan_in(moments, job.zone))
    return [
        _write_cronjob(job, name if number == 1 else f"{name}-{number}", each, run)
        for number, each in enumerate(times, start=1)
    ]


def _write_cronjob(job: Job, name: str, times: str, run: list[str]) -> str:
    named = [each for each in job.needed if each.variable]
    variables = "".join(
        f"                - {{name: {each.variable}, value: {_text(f'/run/secrets/bulkstop/{each.name}')}}}\n"
        for each in named
    )
    elsewhere = [each for each in job.needed if not each.variable and not _is_within(job, each)]
    mounts = ["mountPath: /run/secrets/bulkstop"] if named else []
    mounts += [f"mountPath: {_text(each.path)}, subPath: {_text(each.name)}" for each in elsewhere]
    secret_mount = "".join(f"                - {{name: secrets, {each}, readOnly: true}}\n" for each in mounts)
    secret_volume = (
        "            - {name: secrets, secret: {secretName: bulkstop, defaultMode: 0440}}\n" if mounts else ""
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
{_write_config(job)}\
{secret_volume}\
            - {{name: results, persistentVolumeClaim: {{claimName: bulkstop-results}}}}
            - {{name: scratch, emptyDir: {{}}}}
"""


def _write_config(job: Job) -> str:
    """Return the volume of the file of profiles, with the secrets that the profiles name by paths in its folder."""
    needed, possible = (
        [each for each in secrets if not each.variable and _is_within(job, each)]
        for secrets in (job.needed, job.possible)
    )
    if not needed and not possible:
        return "            - {name: config, configMap: {name: bulkstop}}\n"
    lines = ["            - name: config", "              projected:", "                defaultMode: 0440"]
    lines += ["                sources:", "                  - configMap: {name: bulkstop}"]
    lines += [_write_source(job, each, "") for each in needed]
    lines += [_write_source(job, each, ", optional: true") for each in possible]
    return "\n".join(lines) + "\n"


def _write_source(job: Job, secret: SecretFile, more: str) -> str:
    path = _text(secret.path.removeprefix(f"{job.directory}/"))
    items = f"items: [{{key: {_text(secret.name)}, path: {path}}}]"
    return f"                  - secret: {{name: bulkstop, {items}{more}}}"


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
