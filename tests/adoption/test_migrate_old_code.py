"""What `scripts/migrate.py scan` finds in comments."""

import pytest
from helpers.scanned_repository import findings


def test_commented_leftovers(repo):
    repo.write(
        "tests/conftest.py",
        '''
        # Fixtures of the suite, imported from the modules beside it.
        # from old_fixtures import camera_detector
        import pytest
        # The slow one:
        # @pytest.fixture
        # def camera_detector(broker):
        #     """As it was."""
        #     time.sleep(2)
        #
        #     yield Detector()
        # It took 16 s.

        TEXT = """
        # import nothing
        """

        def test_it(camera_detector):
            #time.sleep(2)
            # import of the modules takes a while; def is a keyword
            # from here on: all is well
            camera_detector.go()  # import os
        ''',
    )
    repo.write("service/main.py", "# import os\n")
    found = findings.commented_leftovers(repo.folder)
    assert [(f.line, f.kind) for f in found] == [
        (3, "commented-code"),
        (6, "commented-code"),
        (19, "commented-code"),
    ]
    assert not any(f.certain for f in found)


@pytest.mark.parametrize(
    "comment",
    [
        "# sleep(2)",
        "# await asyncio.sleep(2)",
        "# while not camera_detector.cameras:\n#     time.sleep(0.1)",
        "# try:\n#     from fast import camera_detector\n# except ImportError:\n#     pass",
        "# class OldBroker:\n#     def start(self):\n#         time.sleep(1)",
        "# detector = CameraDetector(config)",
        "# tests.test_detect.camera_detector = camera_detector_fast",
        "# camera_detector.start_background()",
        "# port = 1883\n# import tests.test_detect",
    ],
)
def test_old_code_of_other_kinds(repo, comment):
    repo.write("tests/test_it.py", comment + "\n")
    assert [f.line for f in findings.commented_leftovers(repo.folder)] == [1]


@pytest.mark.parametrize(
    "comment",
    [
        "# camera_detector",
        "# for a camera_detector",
        "# with the broker's own port",
        "# port = 1883",
        "# while it lasts: nothing",
        "# time.sleep is bad",
        "# class of its own",
    ],
)
def test_a_comment_is_no_old_code(repo, comment):
    repo.write("tests/test_it.py", comment + "\n")
    assert findings.commented_leftovers(repo.folder) == []
