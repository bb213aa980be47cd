package main

import "testing"

func TestRowsWithAnEmptyCellAreDropped(t *testing.T) {
	rows, dropped := complete("name,age\nAda,36\nBob,\n")
	if rows != "name,age\nAda,36\n" || dropped != 1 {
		t.Fatalf("%q, %d dropped", rows, dropped)
	}
}
