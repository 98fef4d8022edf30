package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// row is one line of the table. Its cells are wxphone, silenceper/wechat and
// the bare standard library. Without work it goes on with that of the row above.
type row struct {
	work, measure string
	cells         []string
}

// relative shows the first value as it is and the others as multiples of it.
func relative(values []float64, format func(float64) string) []string {
	cells := []string{format(values[0])}
	for _, value := range values[1:] {
		ratio := value / values[0]
		if math.IsNaN(ratio) || math.IsInf(ratio, 0) {
			cells = append(cells, none)
			continue
		}
		// Two digits say all that a shared machine can tell.
		digits := 2
		if ratio >= 10 {
			digits = 0
		}
		cells = append(cells, strconv.FormatFloat(ratio, 'f', digits, 64)+"×")
	}
	return cells
}

func micros(ns float64) string { return fmt.Sprintf("%.1f µs", ns/1e3) }

func millis(ns float64) string { return count(int64(math.Round(ns/1e6))) + " ms" }

// spell sets a space before the unit of a round duration.
func spell(d time.Duration) string {
	if d%time.Second == 0 {
		return count(int64(d/time.Second)) + " s"
	}
	return millis(float64(d))
}

func perSecond(n float64) string { return count(int64(math.Round(n))) }

// count sets commas between thousands.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func printTable(out io.Writer, rows []row) error {
	var text strings.Builder
	text.WriteString("| Work | Measure | wxphone | silenceper/wechat | bare |\n")
	text.WriteString("|---|---|--:|--:|--:|\n")
	for _, r := range rows {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", r.work, r.measure, strings.Join(r.cells, " | "))
	}
	fmt.Fprintf(&text, "\n%s\n", machine())
	_, err := io.WriteString(out, text.String())
	return err
}

// machine says where the figures come from.
func machine() string {
	return fmt.Sprintf("%s %s/%s, GOMAXPROCS %d on %s; silenceper/wechat %s",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), processor(), silenceperVersion())
}

func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "a processor of unknown name"
	}
	for _, line := range strings.Split(string(info), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "a processor of unknown name"
}

func silenceperVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/silenceper/wechat/v2" {
				return module.Version
			}
		}
	}
	return "of unknown version"
}
