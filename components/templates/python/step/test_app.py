import unittest

from app import complete


class Complete(unittest.TestCase):
    def test_drops_rows_with_missing_cells(self):
        self.assertEqual(complete("a,b\n1,2\n3,\n"), ([["a", "b"], ["1", "2"]], 1))
