/* Declares the parts of ST's HAL that audio.c uses, so that the example compiles without it. A firmware includes ST's own header
 * instead, for example stm32h7xx_hal.h. */
#ifndef HANDSFREE_HAL_STUB_H
#define HANDSFREE_HAL_STUB_H

#include <stdint.h>

typedef enum { HAL_OK = 0, HAL_ERROR = 1 } HAL_StatusTypeDef;

typedef struct {
    uint32_t remaining;
} DMA_HandleTypeDef;

typedef struct {
    DMA_HandleTypeDef *hdmatx;
    DMA_HandleTypeDef *hdmarx;
} SAI_HandleTypeDef;

typedef struct {
    volatile uint32_t CTRL;
    volatile uint32_t CYCCNT;
} DWT_Type;

typedef struct {
    volatile uint32_t DEMCR;
} CoreDebug_Type;

#define CoreDebug_DEMCR_TRCENA_Msk (1u << 24)
#define DWT_CTRL_CYCCNTENA_Msk 1u

extern DWT_Type *DWT;
extern CoreDebug_Type *CoreDebug;
extern uint32_t SystemCoreClock;

#define __HAL_DMA_GET_COUNTER(dma) ((dma)->remaining)

HAL_StatusTypeDef HAL_SAI_Receive_DMA(SAI_HandleTypeDef *sai, uint8_t *data, uint16_t size);
HAL_StatusTypeDef HAL_SAI_Transmit_DMA(SAI_HandleTypeDef *sai, uint8_t *data, uint16_t size);
HAL_StatusTypeDef HAL_SAI_DMAStop(SAI_HandleTypeDef *sai);

/* The firmware defines these, and the HAL calls them from the DMA's and the interface's interrupts. */
void HAL_SAI_RxHalfCpltCallback(SAI_HandleTypeDef *sai);
void HAL_SAI_RxCpltCallback(SAI_HandleTypeDef *sai);
void HAL_SAI_TxHalfCpltCallback(SAI_HandleTypeDef *sai);
void HAL_SAI_TxCpltCallback(SAI_HandleTypeDef *sai);
void HAL_SAI_ErrorCallback(SAI_HandleTypeDef *sai);

#endif
