from tests.folk_data import folk_data_dir
from tests.trained import trained_workdir

__all__ = ["folk_data_dir", "trained_workdir"]
