# SPDX-License-Identifier: Apache-2.0
"""Laws of the worker, of edge logs and of percentiles."""

import threading

import numpy as np

from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.latency import Latency
from uwm_ros.logic.worker import LatestWorker


def test_of_waiting_requests_only_the_latest_is_done():
    begun, go, done = threading.Event(), threading.Event(), []

    def work(request):
        begun.set()
        go.wait(10)
        done.append(request)

    worker = LatestWorker(work, lambda error: None)
    worker.submit(0)
    assert begun.wait(10)
    for request in (1, 2, 3):
        worker.submit(request)
    assert worker.busy
    go.set()
    while worker.busy:
        pass
    assert worker.close()
    assert done == [0, 3]
    assert worker.replaced == 2


def test_work_runs_off_the_callers_thread_and_outlives_an_error():
    threads, errors, second = [], [], threading.Event()

    def work(request):
        threads.append(threading.get_ident())
        if request == "bad":
            raise RuntimeError("bad")
        second.set()

    failed = threading.Event()
    worker = LatestWorker(work, lambda error: (errors.append(str(error)), failed.set()))
    worker.submit("bad")
    assert failed.wait(10)
    worker.submit("good")
    assert second.wait(10)
    assert worker.close()
    assert errors == ["bad"]
    assert threading.get_ident() not in threads


def test_closed_worker_takes_nothing():
    done = []
    worker = LatestWorker(done.append, lambda error: None)
    assert worker.close()
    worker.submit(1)
    assert done == []
    assert not worker.busy


def test_log_speaks_once_when_it_breaks_and_once_when_it_heals():
    said = []
    log = EdgeLog(
        lambda text: said.append(("warn", text)), lambda text: said.append(("info", text))
    )
    for bad in (False, True, True, False, False, True):
        log.update("camera", bad=bad, text="camera is silent")
    broke = ("warn", "camera is silent")
    assert said == [broke, ("info", "camera recovered"), broke]
    assert log.bad == {"camera"}


def test_percentiles_are_those_of_the_newest_durations():
    latency = Latency(window=50)
    values = np.random.default_rng(0).uniform(size=120)
    for value in values:
        latency.add(value)
    assert latency.percentile_s(95) == np.percentile(values[-50:], 95)
    assert latency.last_s == values[-1]
    assert Latency().percentile_s(50) == 0.0
