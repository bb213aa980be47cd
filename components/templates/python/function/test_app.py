import unittest

import eyot
from app import summarize


class Summarize(unittest.TestCase):
    def test_mean_and_deviation(self):
        summary = summarize([1.0, 3.0])
        self.assertEqual((summary.count, summary.mean, summary.deviation), (2, 2.0, 1.0))

    def test_refuses_nothing(self):
        with self.assertRaises(eyot.InvalidInput):
            summarize([])
