// Drives a monitor with the published firecracker-go-sdk, unmodified: boots a microVM with every device that the SDK
// knows, pauses and resumes it, changes what can be changed while it runs, and stops it by Ctrl-Alt-Del.
//
//	go-sdk MONITOR KERNEL INITRD TAP FOLDER
//
// The guest's script is in the RAM disk, by ../../e2e/lab_sdk.py. Each step is a line `ok STEP`; the first that fails
// ends the program with status 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	firecracker "github.com/firecracker-microvm/firecracker-go-sdk"
	"github.com/firecracker-microvm/firecracker-go-sdk/client/models"
	log "github.com/sirupsen/logrus"
)

type metadata map[string]map[string]string

func check(step string, err error) {
	if err != nil {
		fmt.Printf("failed %s: %v\n", step, err)
		os.Exit(1)
	}
	fmt.Printf("ok %s\n", step)
}

func expect(step string, came, wanted interface{}) {
	if !reflect.DeepEqual(came, wanted) {
		check(step, fmt.Errorf("expected %v, came %v", wanted, came))
	}
	fmt.Printf("ok %s\n", step)
}

// What the guest has written to its serial port so far.
func waitFor(console, text string) {
	for until := time.Now().Add(120 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if data, _ := os.ReadFile(console); strings.Contains(string(data), text) {
			fmt.Printf("ok the guest said %s\n", text)
			return
		}
	}
	check("the guest to say "+text, errors.New("it did not"))
}

func config(kernel, initrd, tap, folder string) firecracker.Config {
	image := filepath.Join(folder, "first.img")
	return firecracker.Config{
		SocketPath:      filepath.Join(folder, "sdk.sock"),
		KernelImagePath: kernel,
		InitrdPath:      initrd,
		KernelArgs:      "console=ttyS0 reboot=k panic=1 quiet rdinit=/sdk.sh",
		Drives: []models.Drive{{
			DriveID:      firecracker.String("1"),
			PathOnHost:   &image,
			IsRootDevice: firecracker.Bool(false),
			IsReadOnly:   firecracker.Bool(false),
		}},
		NetworkInterfaces: []firecracker.NetworkInterface{{
			StaticConfiguration: &firecracker.StaticNetworkConfiguration{
				MacAddress:  "02:00:00:00:00:07",
				HostDevName: tap,
			},
			AllowMMDS: true,
		}},
		VsockDevices: []firecracker.VsockDevice{{ID: "v", Path: filepath.Join(folder, "v.sock"), CID: 7}},
		MachineCfg: models.MachineConfiguration{
			VcpuCount:  firecracker.Int64(1),
			MemSizeMib: firecracker.Int64(128),
		},
		MmdsAddress: net.IPv4(169, 254, 9, 9),
		MmdsVersion: firecracker.MMDSv2,
	}
}

func start(ctx context.Context, monitor, folder string, cfg firecracker.Config) *firecracker.Machine {
	out, err := os.Create(filepath.Join(folder, "console"))
	check("a file for the console", err)
	cmd := firecracker.VMCommandBuilder{}.WithBin(monitor).WithSocketPath(cfg.SocketPath).WithStdout(out).
		WithStderr(os.Stderr).Build(ctx)
	logger := log.New()
	logger.SetLevel(log.WarnLevel)
	machine, err := firecracker.NewMachine(ctx, cfg, firecracker.WithProcessRunner(cmd),
		firecracker.WithLogger(log.NewEntry(logger)))
	check("NewMachine", err)
	machine.Handlers.FcInit = machine.Handlers.FcInit.AppendAfter(firecracker.CreateMachineHandlerName,
		firecracker.NewCreateBalloonHandler(10, true, 1))
	machine.Handlers.FcInit = machine.Handlers.FcInit.Append(
		firecracker.NewSetMetadataHandler(metadata{"latest": {"a": "one"}}))
	check("Start", machine.Start(ctx))
	return machine
}

func pause(ctx context.Context, machine *firecracker.Machine) {
	check("PauseVM", machine.PauseVM(ctx))
	info, err := machine.DescribeInstanceInfo(ctx)
	check("DescribeInstanceInfo", err)
	expect("paused", *info.State, models.InstanceInfoStatePaused)
	check("ResumeVM", machine.ResumeVM(ctx))
	info, err = machine.DescribeInstanceInfo(ctx)
	check("DescribeInstanceInfo", err)
	expect("running", *info.State, models.InstanceInfoStateRunning)
}

func patch(ctx context.Context, machine *firecracker.Machine, folder string) {
	data := metadata{}
	check("UpdateGuestDrive", machine.UpdateGuestDrive(ctx, "1", filepath.Join(folder, "second.img")))
	check("UpdateGuestNetworkInterfaceRateLimit", machine.UpdateGuestNetworkInterfaceRateLimit(ctx, "1",
		firecracker.RateLimiterSet{
			InRateLimiter: firecracker.NewRateLimiter(firecracker.TokenBucketBuilder{}.WithBucketSize(1<<20).
				WithRefillDuration(time.Second).Build(), firecracker.TokenBucketBuilder{}.WithBucketSize(1000).
				WithRefillDuration(time.Second).Build()),
		}))
	check("UpdateMetadata", machine.UpdateMetadata(ctx, metadata{"latest": {"b": "two"}}))
	check("GetMetadata", machine.GetMetadata(ctx, &data))
	expect("metadata", data, metadata{"latest": {"a": "one", "b": "two"}})
}

func balloon(ctx context.Context, machine *firecracker.Machine) {
	config, err := machine.GetBalloonConfig(ctx)
	check("GetBalloonConfig", err)
	expect("balloon", []int64{*config.AmountMib, config.StatsPollingIntervals}, []int64{10, 1})
	check("UpdateBalloon", machine.UpdateBalloon(ctx, 20))
	check("UpdateBalloonStats", machine.UpdateBalloonStats(ctx, 2))
	for i := 0; ; i++ {
		stats, err := machine.GetBalloonStats(ctx)
		if err == nil && *stats.ActualMib == 20 {
			break
		}
		if i == 600 {
			check("a balloon of 20 MiB", fmt.Errorf("%v, %+v", err, stats))
		}
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println("ok a balloon of 20 MiB")
}

func main() {
	monitor, kernel, initrd, tap, folder := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	console := filepath.Join(folder, "console")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Second)
	defer cancel()

	machine := start(ctx, monitor, folder, config(kernel, initrd, tap, folder))
	version, err := machine.GetFirecrackerVersion(ctx)
	check("GetFirecrackerVersion "+version, err)
	waitFor(console, "metadata one")
	pause(ctx, machine)
	patch(ctx, machine, folder)
	waitFor(console, "second drive")
	balloon(ctx, machine)
	check("Shutdown", machine.Shutdown(ctx))
	check("Wait", machine.Wait(ctx))
}
