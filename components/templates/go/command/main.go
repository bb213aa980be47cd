// Reads /in/file, writes /out/rows: the rows without an empty cell.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := clean("/in/file", "/out/rows"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func clean(from, to string) error {
	table, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	rows, dropped := complete(string(table))
	fmt.Printf("%d rows dropped\n", dropped)
	return os.WriteFile(to, []byte(rows), 0o644)
}
