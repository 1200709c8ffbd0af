// Command clients drives go-redis through the usual work: PROGRAM JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…, see ../README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const limit = 120 * time.Second

type options struct {
	protocol  int
	mode      string
	password  string
	addresses []string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 6 {
		return errors.New("usage: JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…")
	}
	protocol, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	options := options{protocol, args[3], args[4], args[5:]}
	client := options.connect()
	defer client.Close()
	switch args[0] {
	case "work":
		return options.work(ctx, client)
	case "follow":
		return follow(ctx, client)
	}
	return fmt.Errorf("no such job: %s", args[0])
}

func (o options) connect() redis.UniversalClient {
	switch o.mode {
	case "sentinel":
		// docs: sentinel
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName:       "orders",
			SentinelAddrs:    o.addresses,
			SentinelPassword: o.password,
			Password:         o.password,
			Protocol:         o.protocol,
		})
		// end
	case "cluster":
		// docs: cluster
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs:    o.addresses,
			Password: o.password,
			Protocol: o.protocol,
			// A minute by default: so long it may ask a master that is gone.
			ClusterStateReloadInterval: time.Second,
		})
		// end
	}
	return redis.NewClient(&redis.Options{Addr: o.addresses[0], Password: o.password, Protocol: o.protocol})
}

func say(report map[string]any) {
	line, _ := json.Marshal(report)
	fmt.Println(string(line))
}

// same compares, taking the first value's error for a difference.
func same(wanted, found any, err error) error {
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(wanted, found) {
		return fmt.Errorf("wanted %#v, found %#v", wanted, found)
	}
	return nil
}

func until(what string, probe func() bool) error {
	for end := time.Now().Add(10 * time.Second); !probe(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("not reached: " + what)
		}
	}
	return nil
}

type part struct {
	name string
	run  func() error
}

func (o options) work(ctx context.Context, c redis.UniversalClient) error {
	k := func(name string) string { return "{go}" + name }
	parts := []part{
		{"fresh", func() error {
			return c.Del(ctx, k("s"), k("n"), k("h"), k("l"), k("set"), k("z"), k("x"), k("q"), k("counter"), k("t"), k("w")).Err()
		}},
		{"strings", func() error {
			ok, err := c.SetNX(ctx, k("s"), "v", time.Minute).Result()
			if err := same(true, ok, err); err != nil {
				return err
			}
			values, err := c.MGet(ctx, k("s"), k("none")).Result()
			if err := same([]any{"v", nil}, values, err); err != nil {
				return err
			}
			if err := c.Get(ctx, k("none")).Err(); err != redis.Nil {
				return fmt.Errorf("GET of nothing: %v", err)
			}
			n, err := c.IncrByFloat(ctx, k("n"), 41.5).Result()
			return same(41.5, n, err)
		}},
		{"hashes", func() error {
			type row struct {
				A int    `redis:"a"`
				B string `redis:"b"`
			}
			if err := c.HSet(ctx, k("h"), row{1, "two"}).Err(); err != nil {
				return err
			}
			var found row
			err := c.HGetAll(ctx, k("h")).Scan(&found)
			return same(row{1, "two"}, found, err)
		}},
		{"lists", func() error {
			if err := c.RPush(ctx, k("l"), "a", "b", "c").Err(); err != nil {
				return err
			}
			key, popped, err := c.LMPop(ctx, "left", 2, k("l")).Result()
			return same([]string{k("l"), "a", "b"}, append([]string{key}, popped...), err)
		}},
		{"sets", func() error {
			if err := c.SAdd(ctx, k("set"), "a", "b").Err(); err != nil {
				return err
			}
			found, err := c.SMIsMember(ctx, k("set"), "a", "c").Result()
			return same([]bool{true, false}, found, err)
		}},
		{"sorted sets", func() error {
			if err := c.ZAdd(ctx, k("z"), redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2.5, Member: "b"}).Err(); err != nil {
				return err
			}
			found, err := c.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{Key: k("z"), Start: 0, Stop: -1, Rev: true}).Result()
			if err := same([]redis.Z{{Score: 2.5, Member: "b"}, {Score: 1, Member: "a"}}, found, err); err != nil {
				return err
			}
			rank, err := c.ZRank(ctx, k("z"), "b").Result()
			return same(int64(1), rank, err)
		}},
		{"streams", func() error {
			id, err := c.XAdd(ctx, &redis.XAddArgs{Stream: k("x"), Values: []string{"f", "v"}}).Result()
			if err != nil {
				return err
			}
			if err := c.XGroupCreate(ctx, k("x"), "g", "0").Err(); err != nil {
				return err
			}
			read, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "me", Streams: []string{k("x"), ">"}}).Result()
			if err != nil {
				return err
			}
			if err := same(map[string]any{"f": "v"}, read[0].Messages[0].Values, nil); err != nil {
				return err
			}
			pending, err := c.XPending(ctx, k("x"), "g").Result()
			if err := same(int64(1), pending.Count, err); err != nil {
				return err
			}
			info, err := c.XInfoStreamFull(ctx, k("x"), 10).Result()
			if err := same(int64(1), info.Length, err); err != nil {
				return err
			}
			acked, err := c.XAck(ctx, k("x"), "g", id).Result()
			return same(int64(1), acked, err)
		}},
		{"blocking", func() error {
			go func() {
				time.Sleep(50 * time.Millisecond)
				c.RPush(ctx, k("q"), "job")
			}()
			popped, err := c.BLPop(ctx, 5*time.Second, k("q")).Result()
			return same([]string{k("q"), "job"}, popped, err)
		}},
		{"pipeline", func() error {
			answers, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for n := 0; n < 1000; n++ {
					p.Incr(ctx, k("counter"))
				}
				return nil
			})
			if err != nil {
				return err
			}
			return same(int64(1000), answers[999].(*redis.IntCmd).Val(), nil)
		}},
		{"transaction", func() error {
			answers, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, k("t"), 1, 0)
				p.Incr(ctx, k("t"))
				return nil
			})
			if err != nil {
				return err
			}
			return same(int64(2), answers[1].(*redis.IntCmd).Val(), nil)
		}},
		{"watch", func() error {
			err := c.Watch(ctx, func(tx *redis.Tx) error {
				if err := c.Set(ctx, k("w"), "theirs", 0).Err(); err != nil {
					return err
				}
				_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
					p.Set(ctx, k("w"), "mine", 0)
					return nil
				})
				return err
			}, k("w"))
			if err != redis.TxFailedErr {
				return fmt.Errorf("EXEC after a change: %v", err)
			}
			return nil
		}},
		{"script", func() error {
			script := redis.NewScript("return {redis.call('incrby', KEYS[1], ARGV[1]), 'two'}")
			found, err := script.Run(ctx, c, []string{k("t")}, 40).Slice()
			return same([]any{int64(42), "two"}, found, err)
		}},
		{"expiry", func() error {
			if err := c.Set(ctx, k("soon"), 1, 50*time.Millisecond).Err(); err != nil {
				return err
			}
			return until("it has expired", func() bool { return c.Exists(ctx, k("soon")).Val() == 0 })
		}},
		{"publish and subscribe", func() error {
			subscriber := c.Subscribe(ctx, "news")
			defer subscriber.Close()
			if _, err := subscriber.Receive(ctx); err != nil {
				return err
			}
			if err := subscriber.PSubscribe(ctx, "n?ws"); err != nil {
				return err
			}
			if _, err := subscriber.Receive(ctx); err != nil {
				return err
			}
			if err := c.Publish(ctx, "news", "hello").Err(); err != nil {
				return err
			}
			for range 2 {
				message, err := subscriber.ReceiveMessage(ctx)
				if err != nil {
					return err
				}
				if message.Channel != "news" || message.Payload != "hello" {
					return fmt.Errorf("heard %v", message)
				}
			}
			return nil
		}},
		{"errors", func() error {
			if err := c.LPush(ctx, k("s"), "x").Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE ") {
				return fmt.Errorf("LPUSH to a string: %v", err)
			}
			return nil
		}},
	}
	if o.mode == "cluster" {
		parts = append(parts, o.cluster(ctx, c.(*redis.ClusterClient))...)
	} else {
		parts = append(parts, part{"scan", func() error {
			for n := range 500 {
				if err := c.Set(ctx, fmt.Sprintf("scan:%d", n), n, 0).Err(); err != nil {
					return err
				}
			}
			found := map[string]bool{}
			all := c.Scan(ctx, 0, "scan:*", 50).Iterator()
			for all.Next(ctx) {
				found[all.Val()] = true
			}
			return same(500, len(found), all.Err())
		}})
	}
	for _, part := range parts {
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		say(map[string]any{"checked": part.name})
	}
	return nil
}

func (o options) cluster(ctx context.Context, c *redis.ClusterClient) []part {
	return []part{
		{"keys of all slots", func() error {
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for n := range 600 {
					p.Set(ctx, fmt.Sprintf("go:%d", n), n, 0)
				}
				return nil
			})
			if err != nil {
				return err
			}
			for n := range 600 {
				found, err := c.Get(ctx, fmt.Sprintf("go:%d", n)).Int()
				if err := same(n, found, err); err != nil {
					return err
				}
			}
			masters := make(chan string, 10)
			err = c.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error {
				masters <- one.Options().Addr
				return one.Ping(ctx).Err()
			})
			return same(3, len(masters), err)
		}},
		{"slots and shards", func() error {
			shards, err := c.ClusterShards(ctx).Result()
			if err := same(3, len(shards), err); err != nil {
				return err
			}
			slots, err := c.ClusterSlots(ctx).Result()
			return same(3, len(slots), err)
		}},
		{"cross-slot errors", func() error {
			if err := c.MGet(ctx, "a", "b", "c").Err(); err == nil {
				return errors.New("keys of several slots were taken")
			}
			return nil
		}},
		{"shard channels", func() error {
			subscriber := c.SSubscribe(ctx, "{a}news")
			defer subscriber.Close()
			if _, err := subscriber.Receive(ctx); err != nil {
				return err
			}
			if err := c.SPublish(ctx, "{a}news", "hello").Err(); err != nil {
				return err
			}
			message, err := subscriber.ReceiveMessage(ctx)
			if err != nil {
				return err
			}
			return same("hello", message.Payload, nil)
		}},
	}
}
