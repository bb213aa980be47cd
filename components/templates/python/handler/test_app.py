import unittest

import eyot
from app import predict


class Predict(unittest.TestCase):
    def test_standardises(self):
        answer = predict(x=eyot.Tensor.of("x", "FP32", [3], [1, 2, 3]))
        self.assertEqual([round(value, 4) for value in answer["y"]], [-1.2247, 0.0, 1.2247])

    def test_refuses_nothing(self):
        with self.assertRaises(eyot.InvalidInput):
            predict(x=eyot.Tensor.of("x", "FP32", [0], []))
