"""What explains an answer does so where the model is, be that not the CPU."""

import json
import subprocess
import sys


def test_on_another_device_everything_is_what_it_is_on_the_cpu():
    done = subprocess.run([sys.executable, "-m", "tests.inspection.elsewhere"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    apart = json.loads(done.stdout.splitlines()[-1])
    assert apart.pop("model bfloat16") < 0.05  # its steps are 1/256 each, in five layers and the encoder
    assert sum(name.startswith("map ") for name in apart) > 20
    # Attention takes another kernel there; maps of occlusion are differences of what is rounded to 1e-6 each.
    assert not {name: off for name, off in apart.items() if not off < 1e-4}
