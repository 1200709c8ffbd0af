package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	pause           = 5 * time.Millisecond
	pauseAfterError = 20 * time.Millisecond
	inARow          = 100
	errorText       = 80
)

// follow writes through one client for as long as it is told to, and reads back what was acknowledged.
func follow(ctx context.Context, c redis.UniversalClient) error {
	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	key := func(n int) string { return fmt.Sprintf("follow:%d:%d", os.Getpid(), n) }
	value := func(n int) string { return fmt.Sprintf("value %d", n) }
	var acknowledged []int
	failures := map[string]int{}
	row, waiting := 0, true
	var last time.Time
	var outage time.Duration
	for n, ending := 0, false; !ending; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.Set(ctx, key(n), value(n), 0).Err(); err == nil {
			now := time.Now()
			if !last.IsZero() {
				outage = max(outage, now.Sub(last))
			}
			last = now
			acknowledged = append(acknowledged, n)
			row++
			time.Sleep(pause)
		} else {
			row = 0
			text := err.Error()
			failures[text[:min(len(text), errorText)]]++
			time.Sleep(pauseAfterError)
		}
		if waiting && row >= inARow {
			waiting = false
			say(map[string]any{"going": len(acknowledged), "outage_ms": outage.Milliseconds()})
			outage = 0
		}
		select {
		case line := <-lines:
			switch line {
			case "end":
				ending = true
			case "mark":
				outage = 0
			default:
				waiting, row = true, 0
			}
		default:
		}
	}
	missing := []int{}
	for _, n := range acknowledged {
		if found, err := c.Get(ctx, key(n)).Result(); err == redis.Nil || err == nil && found != value(n) {
			missing = append(missing, n)
		} else if err != nil {
			return err
		}
	}
	say(map[string]any{"acknowledged": len(acknowledged), "missing": missing, "errors": failures})
	return nil
}
