// SPDX-License-Identifier: Apache-2.0
// Memory behind an AXI4 port, for simulation: bandwidth, latency and random stalls are settable; what the port does
// against the rules, and where it reaches, is checked.
//
// Bandwidth: reads and writes share one budget of rate_num_i/rate_den_i bytes a cycle, exactly; rate_num_i of
// 0: no limit. If both want the same beat's worth, they take turns. An idle bus saves up no more than two beats.
// With jitter_i a cycle brings nothing or twice as much, at random; up to 64 beats are then saved, so that chance
// takes nothing away.
// Latency: latency_i cycles, at least 2, from an accepted read address to its first beat, and from the last beat of a
// write burst to its answer; at random up to latency_spread_i cycles more. Answers come in order.
// stall_i is the chance, in 1/256, that a channel stalls in a cycle.
// Errors: beyond MEM_BYTES everything answers DECERR. After a load_i the bad_read_i-th read beat and the
// bad_write_i-th write burst, counted from 1, answer bad_response_i instead of OKAY; the data are written.
// Checks: error_o keeps a bit for each rule that was broken, until a reset or a load_i. With guard_i, reads must stay
// inside window 0 or 1, written bytes inside window 2 or 3 of guard_first_i to guard_last_i.
// Backdoor: a rising edge of load_i reads the file memory_image.hex of the working directory into
// the memory ($readmemh, words of the bus width), a rising edge of dump_i writes the words dump_first_i to
// dump_last_i to memory_dump.hex.
// bytes_*_o count what was moved, starved_o the cycles in which a beat waited for the budget alone.

module axi_memory #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int MEM_BYTES  = 1 << 20
) (
    input logic clk_i,
    input logic rst_ni,

    input logic [23:0] rate_num_i,
    input logic [15:0] rate_den_i,
    input logic        jitter_i,
    input logic [15:0] latency_i,
    input logic [15:0] latency_spread_i,
    input logic [ 7:0] stall_i,
    input logic [31:0] seed_i,
    input logic [31:0] bad_read_i,
    input logic [31:0] bad_write_i,
    input logic [ 1:0] bad_response_i,

    input logic                    guard_i,
    input logic [4*AXI_ADDR_W-1:0] guard_first_i,
    input logic [4*AXI_ADDR_W-1:0] guard_last_i,

    input logic        load_i,
    input logic        dump_i,
    input logic [31:0] dump_first_i,
    input logic [31:0] dump_last_i,

    output logic [63:0] bytes_read_o,
    output logic [63:0] bytes_written_o,
    output logic [63:0] starved_o,
    output logic [ 7:0] error_o,

    input  logic                    arvalid_i,
    output logic                    arready_o,
    input  logic                    arid_i,
    input  logic [  AXI_ADDR_W-1:0] araddr_i,
    input  logic [             7:0] arlen_i,
    input  logic [             2:0] arsize_i,
    input  logic [             1:0] arburst_i,
    output logic                    rvalid_o,
    input  logic                    rready_i,
    output logic                    rid_o,
    output logic [  AXI_DATA_W-1:0] rdata_o,
    output logic [             1:0] rresp_o,
    output logic                    rlast_o,
    input  logic                    awvalid_i,
    output logic                    awready_o,
    input  logic                    awid_i,
    input  logic [  AXI_ADDR_W-1:0] awaddr_i,
    input  logic [             7:0] awlen_i,
    input  logic [             2:0] awsize_i,
    input  logic [             1:0] awburst_i,
    input  logic                    wvalid_i,
    output logic                    wready_o,
    input  logic [  AXI_DATA_W-1:0] wdata_i,
    input  logic [AXI_DATA_W/8-1:0] wstrb_i,
    input  logic                    wlast_i,
    output logic                    bvalid_o,
    input  logic                    bready_i,
    output logic                    bid_o,
    output logic [             1:0] bresp_o
);

  localparam int Bytes = AXI_DATA_W / 8;
  localparam int ByteW = $clog2(Bytes);
  localparam int Words = MEM_BYTES / Bytes;
  localparam int WordAw = $clog2(Words);
  localparam int Queue = 256;  // bursts accepted, of each kind
  localparam int QueueAw = $clog2(Queue);

  // Bits of error_o.
  localparam int ArRule = 0, AwRule = 1, ArStable = 2, AwStable = 3, WStable = 4;
  localparam int WLast = 5, ReadGuard = 6, WriteGuard = 7;

  logic [AXI_DATA_W-1:0] mem[Words];

  // ---- Backdoor ------------------------------------------------------------------------------------
  logic load_q, dump_q, reset_q;  // reset_q: there was a reset; before it the pins hold anything
  logic loads;
  initial begin
    load_q  = 1'b0;
    dump_q  = 1'b0;
    reset_q = 1'b0;
  end
  assign loads = reset_q && load_i && !load_q;
  always @(posedge clk_i) begin
    load_q <= load_i;
    dump_q <= dump_i;
    if (!rst_ni) reset_q <= 1'b1;
    if (loads) $readmemh("memory_image.hex", mem);
    if (reset_q && dump_i && !dump_q) $writememh("memory_dump.hex", mem, dump_first_i, dump_last_i);
  end

  // ---- Chance: one pseudo-random word a cycle (xorshift) -----------------------------------------------
  logic [31:0] random_q, random_1, random_2, random_3;
  logic [ 3:0] stalled;
  logic [15:0] delay;
  assign random_1 = random_q ^ (random_q << 13);
  assign random_2 = random_1 ^ (random_1 >> 17);
  assign random_3 = random_2 ^ (random_2 << 5);
  for (genvar s = 0; s < 4; s++) begin : g_stall
    assign stalled[s] = random_q[s*8+:8] < stall_i;
  end
  assign delay = latency_i + 16'((32'(random_q[23:8]) * (32'(latency_spread_i) + 32'd1)) >> 16);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      random_q <= seed_i | 32'd1;
    end else if (stall_i != '0 || jitter_i || latency_spread_i != '0) begin
      random_q <= random_3;
    end
  end

  // ---- Bandwidth: one budget for reads and writes, in 1/rate_den_i bytes --------------------------------
  logic [31:0] budget_q, income, cost, left, most;  // most: less would cut a busy bus short
  logic read_wants, write_wants, read_beat, write_beat, unlimited, one, two, turn_q;
  assign unlimited = rate_num_i == '0;
  assign cost = 32'(rate_den_i) << ByteW;
  assign one = unlimited || budget_q >= cost;
  assign two = unlimited || budget_q >= 2 * cost;
  assign income = !jitter_i ? 32'(rate_num_i) : random_q[31] ? 32'(rate_num_i) << 1 : '0;
  assign most = jitter_i ? cost << 6 : 2 * cost + 32'(rate_num_i);
  assign left = budget_q - (read_beat ? cost : '0) - (write_beat ? cost : '0) + income;
  assign read_beat = read_wants && one && (two || !write_wants || !turn_q);
  assign write_beat = write_wants && one && (two || !read_wants || turn_q);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      budget_q <= '0;
      turn_q <= 1'b0;
      starved_o <= '0;
    end else begin
      if (!unlimited) budget_q <= left > most ? most : left;
      if (read_beat != write_beat) turn_q <= read_beat;
      if ((read_wants && !read_beat) || (write_wants && !write_beat)) begin
        starved_o <= starved_o + 64'd1;
      end
    end
  end

  // ---- Reads ---------------------------------------------------------------------------------------
  logic [31:0] now_q, read_count_q;
  logic [AXI_ADDR_W-1:0] ar_addr[Queue];
  logic [7:0] ar_len[Queue];
  logic ar_id[Queue];
  logic [31:0] ar_due[Queue];
  logic [QueueAw:0] ar_write_q, ar_read_q;
  logic [QueueAw-1:0] ar_head;
  logic [8:0] beat_q;
  logic [AXI_ADDR_W-1:0] read_addr;
  logic read_inside, read_last, have, ar_take;
  logic rvalid_q;

  assign ar_head = ar_read_q[QueueAw-1:0];
  assign arready_o = (ar_write_q - ar_read_q) != (QueueAw + 1)'(Queue) && !stalled[0];
  assign ar_take = arvalid_i && arready_o;
  assign have = ar_write_q != ar_read_q && now_q - ar_due[ar_head] < 32'h80000000;
  assign read_addr = ar_addr[ar_head] + (AXI_ADDR_W'(beat_q) << ByteW);
  assign read_inside = read_addr < AXI_ADDR_W'(MEM_BYTES);
  assign read_last = beat_q == 9'(ar_len[ar_head]);
  assign read_wants = have && !stalled[1] && (!rvalid_q || rready_i);

  always_ff @(posedge clk_i) begin
    now_q <= now_q + 1'b1;
    if (!rst_ni) begin
      now_q <= '0;
      ar_write_q <= '0;
      ar_read_q <= '0;
      beat_q <= '0;
      rvalid_q <= 1'b0;
      bytes_read_o <= '0;
      read_count_q <= 32'd1;
    end else begin
      if (ar_take) begin
        ar_addr[ar_write_q[QueueAw-1:0]] <= araddr_i;
        ar_len[ar_write_q[QueueAw-1:0]] <= arlen_i;
        ar_id[ar_write_q[QueueAw-1:0]] <= arid_i;
        ar_due[ar_write_q[QueueAw-1:0]] <= now_q + 32'(delay) - 32'd1;
        ar_write_q <= ar_write_q + 1'b1;
      end
      if (read_beat) begin
        rvalid_q <= 1'b1;
        rid_o <= ar_id[ar_head];
        rdata_o <= read_inside ? mem[read_addr[ByteW+:WordAw]] : '0;
        rresp_o <= !read_inside ? 2'b11 : read_count_q == bad_read_i ? bad_response_i : 2'b00;
        rlast_o <= read_last;
        beat_q <= read_last ? '0 : beat_q + 1'b1;
        if (read_last) ar_read_q <= ar_read_q + 1'b1;
        bytes_read_o <= bytes_read_o + 64'(Bytes);
      end else if (rready_i) begin
        rvalid_q <= 1'b0;
      end
      read_count_q <= loads ? 32'd1 : read_count_q + 32'(read_beat);
    end
  end
  assign rvalid_o = rvalid_q;

  // ---- Writes: data belong to the oldest address -----------------------------------------------------
  logic [AXI_ADDR_W-1:0] aw_addr[Queue];
  logic [7:0] aw_len[Queue];
  logic aw_id[Queue], b_id[Queue];
  logic [ 1:0] b_resp[Queue];
  logic [31:0] b_due [Queue];
  logic [QueueAw:0] aw_write_q, aw_read_q, b_read_q;  // b: written, not answered
  logic [QueueAw-1:0] aw_head, b_head;
  logic [ 8:0] write_count_q;  // beats of the burst
  logic [31:0] burst_count_q;
  logic aw_take, aw_there, bad_q, write_inside, write_last, bvalid_q;
  logic [AXI_ADDR_W-1:0] write_addr;

  assign aw_head = aw_read_q[QueueAw-1:0];
  assign b_head = b_read_q[QueueAw-1:0];
  assign awready_o = (aw_write_q - b_read_q) != (QueueAw + 1)'(Queue) && !stalled[2];
  assign aw_take = awvalid_i && awready_o;
  assign aw_there = aw_write_q != aw_read_q;
  assign write_wants = wvalid_i && aw_there && !stalled[3];
  assign wready_o = write_beat;
  assign write_addr = aw_addr[aw_head] + (AXI_ADDR_W'(write_count_q) << ByteW);
  assign write_inside = write_addr < AXI_ADDR_W'(MEM_BYTES);
  assign write_last = write_count_q == 9'(aw_len[aw_head]);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_write_q <= '0;
      aw_read_q <= '0;
      b_read_q <= '0;
      write_count_q <= '0;
      bad_q <= 1'b0;
      bvalid_q <= 1'b0;
      bytes_written_o <= '0;
      burst_count_q <= 32'd1;
    end else begin
      if (aw_take) begin
        aw_addr[aw_write_q[QueueAw-1:0]] <= awaddr_i;
        aw_len[aw_write_q[QueueAw-1:0]] <= awlen_i;
        aw_id[aw_write_q[QueueAw-1:0]] <= awid_i;
        aw_write_q <= aw_write_q + 1'b1;
      end
      if (write_beat) begin
        for (int b = 0; b < Bytes; b++) begin
          if (wstrb_i[b] && write_inside) begin
            mem[write_addr[ByteW+:WordAw]][b*8+:8] <= wdata_i[b*8+:8];
          end
        end
        bytes_written_o <= bytes_written_o + 64'(Bytes);
        write_count_q <= write_last ? '0 : write_count_q + 1'b1;
        bad_q <= !write_last && (bad_q || !write_inside);
        if (write_last) begin
          aw_read_q <= aw_read_q + 1'b1;
          b_id[aw_head] <= aw_id[aw_head];
          b_due[aw_head] <= now_q + 32'(delay) - 32'd1;
          b_resp[aw_head] <= bad_q || !write_inside ? 2'b11 :
              burst_count_q == bad_write_i ? bad_response_i : 2'b00;
        end
      end
      if (!bvalid_q || bready_i) begin
        bvalid_q <= b_read_q != aw_read_q && now_q - b_due[b_head] < 32'h80000000;
        if (b_read_q != aw_read_q && now_q - b_due[b_head] < 32'h80000000) begin
          bid_o <= b_id[b_head];
          bresp_o <= b_resp[b_head];
          b_read_q <= b_read_q + 1'b1;
        end
      end
      burst_count_q <= loads ? 32'd1 : burst_count_q + 32'(write_beat && write_last);
    end
  end
  assign bvalid_o = bvalid_q;

  // ---- Rules -----------------------------------------------------------------------------------------
  function automatic logic illegal(input logic [AXI_ADDR_W-1:0] addr, input logic [7:0] len,
                                   input logic [2:0] size, input logic [1:0] burst);
    illegal = size != 3'(ByteW) || burst != 2'b01 || (addr & AXI_ADDR_W'(Bytes - 1)) != '0 ||
        13'(addr[11:0]) + ((13'(len) + 13'd1) << ByteW) > 13'd4096;
  endfunction

  function automatic logic outside(
      input logic [AXI_ADDR_W-1:0] first, input logic [AXI_ADDR_W-1:0] last,
      input logic [2*AXI_ADDR_W-1:0] firsts, input logic [2*AXI_ADDR_W-1:0] lasts);
    outside = (first < firsts[0+:AXI_ADDR_W] || last > lasts[0+:AXI_ADDR_W]) &&
        (first < firsts[AXI_ADDR_W+:AXI_ADDR_W] || last > lasts[AXI_ADDR_W+:AXI_ADDR_W]);
  endfunction

  logic ar_held_q, aw_held_q, w_held_q;
  logic [AXI_ADDR_W+13:0] ar_item, ar_item_q;
  logic [AXI_ADDR_W+13:0] aw_item, aw_item_q;
  logic [AXI_DATA_W+Bytes:0] w_item, w_item_q;
  assign ar_item = {arid_i, araddr_i, arlen_i, arsize_i, arburst_i};
  assign aw_item = {awid_i, awaddr_i, awlen_i, awsize_i, awburst_i};
  assign w_item  = {wdata_i, wstrb_i, wlast_i};

  logic [7:0] lowest, highest;  // bytes of a beat that are written
  always_comb begin
    lowest  = '0;
    highest = '0;
    if (write_beat && guard_i) begin
      for (int b = 0; b < Bytes; b++) begin
        if (wstrb_i[b]) highest = 8'(b);
        if (wstrb_i[Bytes-1-b]) lowest = 8'(Bytes - 1 - b);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    ar_held_q <= rst_ni && arvalid_i && !arready_o;
    aw_held_q <= rst_ni && awvalid_i && !awready_o;
    w_held_q  <= rst_ni && wvalid_i && !wready_o;
    if (arvalid_i) ar_item_q <= ar_item;
    if (awvalid_i) aw_item_q <= aw_item;
    if (wvalid_i) w_item_q <= w_item;
    if (!rst_ni || loads) begin
      error_o <= '0;
    end else begin
      if (ar_take && illegal(araddr_i, arlen_i, arsize_i, arburst_i)) error_o[ArRule] <= 1'b1;
      if (aw_take && illegal(awaddr_i, awlen_i, awsize_i, awburst_i)) error_o[AwRule] <= 1'b1;
      if (ar_held_q && (!arvalid_i || ar_item != ar_item_q)) error_o[ArStable] <= 1'b1;
      if (aw_held_q && (!awvalid_i || aw_item != aw_item_q)) error_o[AwStable] <= 1'b1;
      if (w_held_q && (!wvalid_i || w_item != w_item_q)) error_o[WStable] <= 1'b1;
      if (write_beat && wlast_i != write_last) error_o[WLast] <= 1'b1;
      if (guard_i && ar_take && outside(
              araddr_i,
              araddr_i + (AXI_ADDR_W'(arlen_i) << ByteW) + AXI_ADDR_W'(Bytes - 1),
              guard_first_i[0+:2*AXI_ADDR_W],
              guard_last_i[0+:2*AXI_ADDR_W]
          )) begin
        error_o[ReadGuard] <= 1'b1;
      end
      if (guard_i && write_beat && wstrb_i != '0 && outside(
              write_addr + AXI_ADDR_W'(lowest),
              write_addr + AXI_ADDR_W'(highest),
              guard_first_i[2*AXI_ADDR_W+:2*AXI_ADDR_W],
              guard_last_i[2*AXI_ADDR_W+:2*AXI_ADDR_W]
          )) begin
        error_o[WriteGuard] <= 1'b1;
      end
    end
  end

endmodule
