import json
import unittest

import eyot
from app import answer


class Answer(unittest.TestCase):
    def test_mean_of_numbers(self):
        response = answer(eyot.Request("POST", body='{"values": [1, 2, 6]}'))
        self.assertEqual((response.status, json.loads(response.body)), (200, {"mean": 3}))

    def test_refuses_what_is_no_list(self):
        with self.assertRaises(eyot.InvalidInput):
            answer(eyot.Request("POST", body='{"values": "many"}'))
