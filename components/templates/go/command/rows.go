package main

import "strings"

// complete gives the rows of a table that have no empty cell, and how many others there were.
func complete(table string) (rows string, dropped int) {
	var kept strings.Builder
	for _, row := range strings.SplitAfter(table, "\n") {
		switch {
		case row == "":
		case incomplete(row):
			dropped++
		default:
			kept.WriteString(row)
		}
	}
	return kept.String(), dropped
}

func incomplete(row string) bool {
	for _, cell := range strings.Split(row, ",") {
		if strings.TrimSpace(cell) == "" {
			return true
		}
	}
	return false
}
