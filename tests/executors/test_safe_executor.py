from concurrent.futures import CancelledError, ThreadPoolExecutor, wait

import pytest
from concurrent_futures_fix import (
    SHUTDOWN_MESSAGES,
    SafeExecutor,
    late_submissions,
)


class TestSafeExecutor:
    def test_does_the_work(self):
        with SafeExecutor(max_workers=2) as executor:
            assert list(executor.map(abs, [-1, -2])) == [1, 2]

    def test_wraps_an_executor_or_takes_a_class(self):
        with SafeExecutor(ThreadPoolExecutor(1)) as executor:
            assert executor.submit(abs, -1).result() == 1
        with SafeExecutor(ThreadPoolExecutor, 1) as executor:
            assert executor.submit(abs, -1).result() == 1

    def test_refuses_late_work_with_a_cancelled_future(self):
        executor = SafeExecutor(max_workers=1)
        executor.shutdown()
        future = executor.submit(abs, -1)
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()
        assert wait([future], timeout=5).done == {future}

    @pytest.mark.parametrize("message", SHUTDOWN_MESSAGES)
    def test_knows_all_messages_of_an_end(self, message):
        assert SafeExecutor(_RaisingExecutor(RuntimeError(message))).submit(abs).cancelled()

    def test_lets_other_errors_through(self):
        executor = SafeExecutor(_RaisingExecutor(RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            executor.submit(abs)

    def test_counts_what_it_refuses_by_where_it_came_from(self):
        executor = SafeExecutor(max_workers=1)
        executor.shutdown()

        def work():
            pass

        for _ in range(3):
            executor.submit(work)
        [origin] = [origin for origin in late_submissions if work.__qualname__ in origin]
        assert late_submissions[origin] == 3
        assert __file__ in origin

    def test_refuses_what_is_no_executor(self):
        with pytest.raises(TypeError, match="max_workers=4"):
            SafeExecutor(4)
        with ThreadPoolExecutor(1) as executor, pytest.raises(TypeError, match="no further"):
            SafeExecutor(executor, max_workers=4)


class _RaisingExecutor(ThreadPoolExecutor):
    def __init__(self, error):
        super().__init__(1)
        self._error = error

    def submit(self, fn, /, *args, **kwargs):
        raise self._error
