// SPDX-License-Identifier: MIT
// Fetches one page many times, some at once, beside bench/fetch.lua.
//
//	go run bench/fetch.go URL [requests [at once]]
//
// Prints requests, seconds, and CPU seconds (user and system).
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func number(i, otherwise int) int {
	if len(os.Args) <= i {
		return otherwise
	}
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		panic(err)
	}
	return n
}

func fetch(client *http.Client, url string) {
	response, err := client.Get(url)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 {
		panic("a fetch failed")
	}
}

func main() {
	requests, atOnce := number(2, 20000), number(3, 200)
	transport := &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512}
	client := &http.Client{Transport: transport}
	jobs := make(chan string, atOnce)
	var workers sync.WaitGroup
	start, cpu := time.Now(), cpuSeconds()
	for i := 0; i < atOnce; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for url := range jobs {
				fetch(client, url)
			}
		}()
	}
	for i := 0; i < requests; i++ {
		jobs <- os.Args[1]
	}
	close(jobs)
	workers.Wait()
	fmt.Printf("%d\t%.6f\t%.6f\n", requests, time.Since(start).Seconds(), cpuSeconds()-cpu)
}
