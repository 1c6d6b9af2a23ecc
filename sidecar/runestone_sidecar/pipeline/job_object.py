"""A job as clients and receivers of webhooks are shown it."""

from typing import Any, Final

import orjson

from runestone_sidecar.pipeline.jobs import Job


def job_summary(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "runestone.job",
        "status": job.status,
        "created_at": job.created_s,
    }


def job_error(job: Job) -> dict[str, str] | None:
    return {"code": job.error, "message": _MESSAGES.get(job.error, _OTHER)} if job.error else None


def job_object(job: Job) -> dict[str, Any]:
    """With `response` and `error` as a line of an OpenAI batch's output has them."""
    response = job.response
    return job_summary(job) | {
        "finished_at": job.finished_s,
        "attempts": job.attempts,
        "response": response
        and {
            "status_code": response.status,
            "request_id": response.request_id,
            "body": orjson.Fragment(response.body),
        },
        "error": job_error(job),
    }


_OTHER: Final = "The last attempt failed; where there is a response, its body says more."
_MESSAGES: Final = {
    "attempts_exhausted": "No attempt came to an end: whoever ran it died each time.",
    "cancelled_by_admin": "The job was cancelled by an administrator.",
    "cancelled_by_client": "The job was cancelled.",
    "key_revoked": "The API key was revoked, disabled, or has expired since.",
    "max_age_reached": "The job's turn did not come in time.",
    "sidecar_stopped": "The sidecar that ran it was stopped; another one takes it.",
    "unreadable": "The request that was kept cannot be read any more.",
}
