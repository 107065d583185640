from tests.folk_data import folk_data_dir

__all__ = ["folk_data_dir"]
